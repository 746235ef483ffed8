import { longestWaitMs } from '../engine/backoff.js';
import { InvalidOptionsError } from '../errors/configuration.errors.js';
import type { BackgroundTaskOptions } from '../interfaces/background-task-options.interface.js';
import { OnConflict, type UniqueOptions, UniqueScope } from '../interfaces/unique-options.interface.js';
import { type Check, checkOptions, milliseconds, object, oneOf } from './checks.js';

export const isPlainObject = (value: unknown) => object(value) === undefined && !Array.isArray(value);

export const declaredKey: Check = (value) =>
  value === true || typeof value === 'function' ? undefined : 'true or a function (payload) => key';

/** @throws InvalidOptionsError */
export function checkUnique(where: string, unique: UniqueOptions<unknown>, key: Check): void {
  const what = `${where}: unique`;
  checkOptions(what, unique, {
    key,
    scope: oneOf(...Object.values(UniqueScope)),
    within: milliseconds(1, longestWaitMs),
    onConflict: oneOf(...Object.values(OnConflict)),
  });
  const { key: given, scope, within, onConflict } = unique;
  if (given === undefined) throw new InvalidOptionsError(`${what} has no key, but needs one.`);
  if (onConflict === 'debounce' && within === undefined) {
    throw new InvalidOptionsError(
      `${what}: onConflict 'debounce' needs within: how many milliseconds it must be quiet.`,
    );
  }
  if (onConflict === 'debounce' && scope === 'live') {
    throw new InvalidOptionsError(
      `${what}: onConflict 'debounce' holds the key until the task starts, so that nothing is missed: drop scope 'live'.`,
    );
  }
  if (onConflict !== 'debounce' && within !== undefined && scope !== undefined) {
    throw new InvalidOptionsError(
      `${what}: scope and within both say for how long the key is held. Give one of them, or two tasks a key each.`,
    );
  }
}

/** What is said of the times of a task, by its class and by the call. */
interface Times {
  readonly expiresInMs?: number | undefined;
  readonly delayMs?: number | undefined;
  readonly scheduledAt?: Date | string | undefined;
  readonly unique?: BackgroundTaskOptions['unique'] | UniqueOptions<unknown>;
}

/** Refuses times that do not go together. @throws InvalidOptionsError */
export function checkTimes(where: string, { expiresInMs, delayMs, scheduledAt, unique }: Times): void {
  const quietMs = quietOf(unique);
  if (delayMs !== undefined || scheduledAt !== undefined) checkDueOf(where, quietMs);
  // By this process's clock, which is good enough to see that something was not meant so.
  const dueInMs = quietMs ?? delayMs ?? (scheduledAt === undefined ? 0 : new Date(scheduledAt).getTime() - Date.now());
  if (expiresInMs !== undefined && expiresInMs <= dueInMs) {
    throw new InvalidOptionsError(
      `${where}: expiresInMs (${expiresInMs}) must be more than the ${Math.round(dueInMs)} ms after which the task is due, ` +
        `or it would expire before it may start.`,
    );
  }
}

/** Refuses schedules of tasks that say themselves when they are due. @throws InvalidOptionsError */
export function checkTickOf(where: string, unique: Times['unique']): void {
  checkDueOf(where, quietOf(unique));
}

function checkDueOf(where: string, quietMs: number | undefined): void {
  if (quietMs === undefined) return;
  throw new InvalidOptionsError(
    `${where}: onConflict 'debounce' says when the task is due, ${quietMs} ms from now. Leave out delayMs and scheduledAt, ` +
      `and make no schedule of it.`,
  );
}

function quietOf(unique: Times['unique']): number | undefined {
  return uniqueOnConflict(unique) === 'debounce' ? (unique as UniqueOptions<unknown>).within : undefined;
}

export function uniqueOnConflict(unique: Times['unique']): OnConflict | undefined {
  return typeof unique === 'object' ? unique.onConflict : undefined;
}
