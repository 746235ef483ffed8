import {
  backoff,
  boolean,
  type Check,
  checkName,
  checkOptions,
  integer,
  maxKeyLength,
  maxNameLength,
  maxTimerMs,
  milliseconds,
  name,
  object,
} from './checks.js';
import { longestWaitMs } from '../engine/backoff.js';

export const maxRetries = integer(0, 1_000_000);
export const timeoutMs = milliseconds(1, maxTimerMs);
/** PostgreSQL's smallint. */
export const priority = integer(-32_768, 32_767);

const unique: Check = (value) =>
  typeof value === 'function' || boolean(value) === undefined
    ? undefined
    : 'true, false or a function (payload) => key';

const schema: Check = (value) =>
  value !== null && (typeof value === 'object' || typeof value === 'function') && '~standard' in value
    ? undefined
    : 'a Standard Schema validator';

const taskChecks: Record<string, Check> = {
  queue: name(maxNameLength),
  maxRetries,
  backoff,
  timeoutMs,
  priority,
  unique,
  schema,
  instance: name(maxNameLength),
};

/** @throws InvalidOptionsError */
export function checkTaskOptions(taskName: string, options: unknown): void {
  checkName('The name in @BackgroundTask()', taskName, maxNameLength);
  checkOptions(`@BackgroundTask(${JSON.stringify(taskName)})`, options, taskChecks);
}

/** JavaScript's years reach further, but are then written in a way that PostgreSQL does not read. */
const earliest = Date.parse('0001-01-01T00:00:00.000Z');
const latest = Date.parse('9999-12-31T23:59:59.999Z');

const scheduledAt: Check = (value) => {
  const time = typeof value === 'string' || value instanceof Date ? new Date(value).getTime() : Number.NaN;
  return time >= earliest && time <= latest ? undefined : 'a valid Date or ISO string, from the year 1 to 9999';
};

/** The shape is the store's business. */
const manager: Check = (value) => object(value);

const manyChecks: Record<string, Check> = {
  manager,
  delayMs: milliseconds(0, longestWaitMs),
  scheduledAt,
  queue: name(maxNameLength),
  priority,
  maxRetries,
  timeoutMs,
};
const enqueueChecks: Record<string, Check> = { ...manyChecks, uniqueKey: name(maxKeyLength) };

/** @throws InvalidOptionsError */
export function checkEnqueueOptions(method: 'enqueue' | 'enqueueMany', options: object): void {
  checkOptions(`TaskQueue.${method}`, options, method === 'enqueue' ? enqueueChecks : manyChecks);
}
