import type { LimitChanges } from '../engine/limits.js';
import { InvalidOptionsError } from '../errors/configuration.errors.js';
import { type Check, checkName, checkOptions, integer, maxKeyLength, maxNameLength, object } from './checks.js';

/** 366 days. */
const longestWindowMs = 31_622_400_000;

export const concurrency = integer(1, 100_000);
export const globalConcurrency = integer(1, 1_000_000);

const rateChecks: Record<string, Check> = { max: integer(1, 1_000_000), perMs: integer(1, longestWindowMs) };
const key: Check = (value) => (typeof value === 'function' ? undefined : 'a function (payload) => key');

/** @throws InvalidOptionsError for what is no `{ max, perMs }`; `key` is for those of tasks only. */
export function checkRateLimit(where: string, rateLimit: unknown, keyed = false): void {
  checkOptions(`${where}: rateLimit`, rateLimit, keyed ? { ...rateChecks, key } : rateChecks);
  const { max, perMs } = rateLimit as Record<string, unknown>;
  for (const [name, value] of Object.entries({ max, perMs })) {
    // One that is missing is refused like one that is wrong.
    if (value === undefined) checkOptions(`${where}: rateLimit`, { [name]: null }, rateChecks);
  }
}

const orNull =
  (check: Check, expected = 'null, which takes a change back'): Check =>
  (value) => {
    const problem = value === null ? undefined : check(value);
    return problem && `${problem}, or ${expected}`;
  };
const orNone = (check: Check): Check =>
  orNull((value) => (value === 'none' ? undefined : check(value)), `'none', or null, which takes a change back`);

const changeChecks: Record<string, Check> = {
  concurrency: orNull(concurrency),
  globalConcurrency: orNone(globalConcurrency),
  rateLimit: orNone((value) => object(value) && 'an object { max, perMs }'),
};

/** @throws InvalidOptionsError */
export function checkLimitChanges(queue: unknown, changes: unknown): void {
  checkName('The queue to limit', queue, maxNameLength);
  const where = `TaskQueue.setLimits(${JSON.stringify(queue)})`;
  checkOptions(where, changes, changeChecks);
  if (Object.values(changes as LimitChanges).every((change) => change === undefined)) {
    const limits = 'concurrency, globalConcurrency or rateLimit';
    throw new InvalidOptionsError(`${where}: nothing is to change. Give ${limits}.`);
  }
  const { rateLimit } = changes as LimitChanges;
  if (typeof rateLimit === 'object' && rateLimit !== null) checkRateLimit(where, rateLimit);
}

/** @throws InvalidOptionsError */
export function checkRateKey(what: string, rateKey: unknown): asserts rateKey is string {
  checkName(what, rateKey, maxKeyLength);
}
