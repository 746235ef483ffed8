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
  oneOf,
  shown,
} from './checks.js';
import { checkRateLimit } from './check-limits.js';
import { checkTimes, checkUnique, declaredKey, isPlainObject, uniqueOnConflict } from './check-unique.js';
import { CronCalendar } from '../cron-calendar.js';
import { longestWaitMs } from '../engine/backoff.js';
import { encodeSchedulePayload } from '../engine/payload.js';
import { IsolationLevel } from '../engine/task-transaction.js';
import { CatchUp } from '../engine/schedule.js';
import { ConcurrencyKeyError, InvalidOptionsError } from '../errors/configuration.errors.js';
import type { BackgroundTaskOptions } from '../interfaces/background-task-options.interface.js';
import type { EnqueueOptions } from '../interfaces/enqueue-options.interface.js';

export const maxRetries = integer(0, 1_000_000);
export const timeoutMs = milliseconds(1, maxTimerMs);
/** PostgreSQL's smallint. */
export const priority = integer(-32_768, 32_767);

/** What an object says is checked by `checkUnique`, which can name each of its options. */
const unique: Check = (value) =>
  typeof value === 'function' || boolean(value) === undefined || isPlainObject(value)
    ? undefined
    : 'true, false, a function (payload) => key, or { key, scope, within, onConflict }';

const expiresInMs = milliseconds(1, longestWaitMs);

/** What an object says is checked by `transactionChecks`. */
const transactional: Check = (value) =>
  boolean(value) === undefined || isPlainObject(value) ? undefined : 'true, false or { isolation }';

const transactionChecks: Record<string, Check> = { isolation: oneOf(...Object.values(IsolationLevel)) };

const concurrencyKey: Check = (value) => (typeof value === 'function' ? undefined : 'a function (payload) => key');
const concurrencyLimit = integer(1, 100_000);

const schema: Check = (value) =>
  value !== null && (typeof value === 'object' || typeof value === 'function') && '~standard' in value
    ? undefined
    : 'a Standard Schema validator';

/** Each task gets it with `tick` added. */
const plainObject: Check = (value) =>
  isPlainObject(value) ? undefined : 'an object, since each task gets it with its tick';

const taskChecks: Record<string, Check> = {
  queue: name(maxNameLength),
  maxRetries,
  backoff,
  timeoutMs,
  priority,
  expiresInMs,
  unique,
  transactional,
  rateLimit: object,
  concurrencyKey,
  concurrencyLimit,
  schema,
  instance: name(maxNameLength),
  keepResult: boolean,
  deadLetter: name(maxNameLength),
  // What a pattern and a time zone are is said by an error of their own.
  cron: () => undefined,
  timeZone: () => undefined,
  catchUp: oneOf(...Object.values(CatchUp)),
  payload: plainObject,
};

/** @throws InvalidOptionsError */
export function checkTaskOptions(taskName: string, options: unknown): void {
  checkName('The name in @BackgroundTask()', taskName, maxNameLength);
  const where = `@BackgroundTask(${JSON.stringify(taskName)})`;
  checkOptions(where, options, taskChecks);
  const { rateLimit, transactional: transaction } = options as BackgroundTaskOptions;
  if (typeof transaction === 'object') checkOptions(`${where}: transactional`, transaction, transactionChecks);
  if (rateLimit !== undefined) checkRateLimit(where, rateLimit, true);
  const { cron, timeZone = 'UTC', ...rest } = options as BackgroundTaskOptions;
  if (typeof rest.unique === 'object') checkUnique(where, rest.unique, declaredKey);
  checkTimes(where, rest);
  if (rest.concurrencyLimit !== undefined && rest.concurrencyKey === undefined) {
    throw new InvalidOptionsError(
      `${where}: concurrencyLimit says how many tasks of a key run at once, but there is no key: add concurrencyKey.`,
    );
  }
  if (cron !== undefined && uniqueOnConflict(rest.unique) === 'debounce') {
    throw new InvalidOptionsError(
      `${where}: onConflict 'debounce' says when a task is due, and so does cron: drop one.`,
    );
  }
  if (rest.deadLetter !== undefined) checkDeadLetter(where, rest.deadLetter, rest.queue ?? 'default');
  // It would fail no sooner than when a worker starts.
  if (rest.payload !== undefined) encodeSchedulePayload(taskName, rest.payload);
  if (cron !== undefined) return new CronCalendar().check(where, { cron, timeZone });
  for (const key of ['timeZone', 'catchUp', 'payload'] as const) {
    if ({ timeZone: (options as BackgroundTaskOptions).timeZone, ...rest }[key] === undefined) continue;
    throw new InvalidOptionsError(`${where}: ${key} says more of a schedule, but there is none: add cron.`);
  }
}

/** @throws InvalidOptionsError when dead letters would lie where they came from. */
export function checkDeadLetter(where: string, deadLetter: string, queue: string): void {
  if (deadLetter !== queue) return;
  throw new InvalidOptionsError(
    `${where}: deadLetter is ${JSON.stringify(queue)}, the queue that the task runs on. Name another queue.`,
  );
}

/** JavaScript's years reach further, but are then written in a way that PostgreSQL does not read. */
const earliest = Date.parse('0001-01-01T00:00:00.000Z');
const latest = Date.parse('9999-12-31T23:59:59.999Z');

/** Date itself takes nearly anything, and much of it by the process's own time zone. */
const isoTime = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d))?$/;

const scheduledAt: Check = (value) => {
  const time = typeof value === 'string' ? timeOf(value) : value instanceof Date ? value.getTime() : Number.NaN;
  return time >= earliest && time <= latest
    ? undefined
    : 'a valid Date or ISO string with its time zone, such as 2030-01-31T08:00:00Z, from the year 1 to 9999';
};

function timeOf(text: string): number {
  const day = isoTime.exec(text)?.[1];
  if (day === undefined) return Number.NaN;
  const midnight = new Date(`${day}T00:00:00.000Z`);
  // 30 February would be a day in March.
  const isDay = !Number.isNaN(midnight.getTime()) && midnight.toISOString().startsWith(day);
  return isDay ? Date.parse(text) : Number.NaN;
}

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
  expiresInMs,
  rateKey: name(maxKeyLength),
  // What can be no key is refused with the same error wherever it comes from.
  concurrencyKey: () => undefined,
  concurrencyLimit,
};
const enqueueChecks: Record<string, Check> = {
  ...manyChecks,
  uniqueKey: name(maxKeyLength),
  unique: (value) => (isPlainObject(value) ? undefined : 'an object { key, scope, within, onConflict }'),
};

const scheduleChecks: Record<string, Check> = {
  cron: () => undefined,
  timeZone: () => undefined,
  catchUp: oneOf(...Object.values(CatchUp)),
  payload: plainObject,
  queue: name(maxNameLength),
  priority,
  maxRetries,
  timeoutMs,
};

/** The pattern and the time zone are the calendar's to check. @throws InvalidOptionsError */
export function checkScheduleOptions(where: string, options: object): void {
  checkOptions(where, options, scheduleChecks);
}

/** @throws ConcurrencyKeyError for what was given as a key and can be none. */
export function checkConcurrencyKey(what: string, key: unknown): void {
  const problem = name(maxKeyLength)(key);
  if (problem) throw new ConcurrencyKeyError(`${what} must be ${problem}, not ${shown(key)}.`);
}

/** @throws InvalidOptionsError */
export function checkKeyOptions(method: string, options: object): void {
  checkOptions(`TaskQueue.${method}`, options, { queue: name(maxNameLength) });
}

/** @throws InvalidOptionsError */
export function checkEnqueueOptions(method: 'enqueue' | 'enqueueMany', options: object): void {
  const where = `TaskQueue.${method}`;
  checkOptions(where, options, method === 'enqueue' ? enqueueChecks : manyChecks);
  const { concurrencyKey: lane, unique: given, uniqueKey } = options as EnqueueOptions;
  if (lane !== undefined) checkConcurrencyKey(`${where}: concurrencyKey`, lane);
  if (given === undefined) return;
  checkUnique(where, given, name(maxKeyLength));
  if (uniqueKey === undefined) return;
  throw new InvalidOptionsError(`${where}: give either unique or uniqueKey, not both.`);
}
