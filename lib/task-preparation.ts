import type { NewTask, UniqueTerms } from './engine/task.js';
import { encodePayload, payloadKey } from './engine/payload.js';
import { ConcurrencyKeyError, InvalidOptionsError } from './errors/configuration.errors.js';
import { PayloadSchemaError } from './errors/payload.errors.js';
import type { BackgroundTaskOptions } from './interfaces/background-task-options.interface.js';
import type { EnqueueOptions } from './interfaces/enqueue-options.interface.js';
import type { UniqueOptions } from './interfaces/unique-options.interface.js';
import { checkTickOf, checkTimes } from './options/check-unique.js';
import { checkRateKey } from './options/check-limits.js';
import { checkName, maxKeyLength, name as nameCheck, shown } from './options/checks.js';
import { checkDeadLetter } from './options/check-task-options.js';
import { newTaskId } from './task-id.js';

/** The task that is enqueued: its name, and what its class declares. */
export interface TaskTarget {
  readonly name: string;
  readonly options: BackgroundTaskOptions;
  /** Whether this process has its class, so that nothing declares what `options` do not. @default false */
  readonly known?: boolean;
  /** The priority of tasks that declare none. */
  readonly priority: number;
}

/**
 * What payloads become by the task's schema, if it has one.
 *
 * @throws PayloadSchemaError for the first that it refuses.
 */
export async function validPayloads(
  { name, options: { schema } }: TaskTarget,
  payloads: readonly unknown[],
): Promise<readonly unknown[]> {
  if (!schema) return payloads;
  const valid: unknown[] = [];
  // While an asynchronous schema is waited for, the caller may use the array for something else.
  for (const payload of payloads.slice()) {
    const result = await schema['~standard'].validate(payload);
    if (result.issues) throw new PayloadSchemaError(name, result.issues);
    valid.push(result.value);
  }
  return valid;
}

/**
 * Turns payloads, validated ones, into rows to be stored: encoded, keyed. All of it happens before anything is written, so
 * that bad input can never leave a transaction half done.
 *
 * @param tick When they are due, if they are those of a schedule's tick. It may lie far ahead or behind by this process's
 * clock, which does not matter: the store enqueues them when it has come by its own, and counts their expiry from there.
 */
export function prepareTasks(
  target: TaskTarget,
  payloads: readonly unknown[],
  options: EnqueueOptions,
  maxPayloadBytes: number,
  tick?: Date,
): NewTask[] {
  const { name, options: declared } = target;
  if (options.rateKey !== undefined && target.known && !declared.rateLimit) {
    throw new InvalidOptionsError(
      `TaskQueue: rateKey names a bucket of a rate limit, but task ${JSON.stringify(name)} has no rateLimit: ` +
        `declare one, or leave rateKey out.`,
    );
  }
  const unique = options.unique ?? declared.unique;
  const expiresInMs = options.expiresInMs ?? declared.expiresInMs;
  if (tick) checkTickOf(called(name), unique);
  else if ((expiresInMs ?? options.delayMs ?? options.scheduledAt) !== undefined) {
    checkTimes(called(name), { ...options, unique, expiresInMs });
  }
  const terms = termsOf(unique, tick ? { scheduledAt: tick } : options);
  const due = tick ? { at: tick } : (debounced(unique) ?? dueOf(options));
  const queue = options.queue ?? declared.queue ?? 'default';
  if (declared.deadLetter !== undefined) checkDeadLetter(`TaskQueue, task "${name}"`, declared.deadLetter, queue);
  const priority = options.priority ?? declared.priority ?? target.priority;
  // What is not said here is the business of the process that runs it, which may have changed its mind by then.
  const maxRetries = options.maxRetries ?? null;
  const timeoutMs = options.timeoutMs === undefined ? null : Math.ceil(options.timeoutMs);
  const expiry = expiresInMs !== undefined && { expiresInMs };
  const laneLimit = options.concurrencyLimit ?? declared.concurrencyLimit ?? 1;
  const tasks: NewTask[] = [];
  for (const payload of payloads) {
    const text = encodePayload(name, payload, maxPayloadBytes);
    const uniqueKey = options.uniqueKey ?? options.unique?.key ?? uniqueKeyOf(target, payload, text);
    const rateKey = options.rateKey ?? rateKeyOf(target, payload);
    const task = { id: newTaskId(), payload: text, uniqueKey, name, queue, priority, maxRetries, timeoutMs, due };
    const lane = options.concurrencyKey ?? concurrencyKeyOf(target, payload);
    // Most say none of these, and are made by the thousand.
    const plain = !terms && expiresInMs === undefined && rateKey === undefined && lane === null;
    if (plain) tasks.push(task);
    else {
      const keys = { ...(rateKey !== undefined && { rateKey }), ...(lane !== null && { lane, laneLimit }) };
      tasks.push({ ...task, ...(terms && { unique: terms }), ...expiry, ...keys });
    }
  }
  if (options.concurrencyLimit !== undefined && tasks.some(({ lane }) => lane === undefined)) {
    throw new InvalidOptionsError(
      `TaskQueue: concurrencyLimit says how many tasks of a key run at once, but task ${JSON.stringify(name)} has no ` +
        `key: add concurrencyKey.`,
    );
  }
  return tasks;
}

function called(name: string): string {
  return `The task ${JSON.stringify(name)}`;
}

function uniqueKeyOf({ name, options: { unique } }: TaskTarget, payload: unknown, text: string): string | null {
  if (!unique) return null;
  const make = typeof unique === 'object' ? unique.key : unique;
  if (make === true) return payloadKey(name, text);
  const key = made('unique key', name, () => make(payload));
  checkName(`The unique key that task ${JSON.stringify(name)} makes`, key, maxKeyLength);
  return key as string;
}

/** @throws ConcurrencyKeyError */
function concurrencyKeyOf({ name, options: { concurrencyKey } }: TaskTarget, payload: unknown): string | null {
  if (!concurrencyKey) return null;
  let key: unknown;
  try {
    key = concurrencyKey(payload);
  } catch (error) {
    throw ConcurrencyKeyError.ofTask(name, `threw for a payload: ${said(error)}`, { cause: error });
  }
  if (nameCheck(maxKeyLength)(key) !== undefined) throw ConcurrencyKeyError.ofTask(name, `made ${shown(key)}`);
  return key as string;
}

/** @throws InvalidOptionsError when the function of the task that makes it does. */
function made(what: string, task: string, make: () => unknown): unknown {
  try {
    return make();
  } catch (error) {
    throw new InvalidOptionsError(
      `The function that makes the ${what} of task ${JSON.stringify(task)} threw for a payload: ${said(error)}. ` +
        `Let it return a key for every payload.`,
      { cause: error },
    );
  }
}

function said(error: unknown): string {
  return (error instanceof Error ? error.message : shown(error)).replace(/\.$/, '');
}

type Unique = BackgroundTaskOptions['unique'] | UniqueOptions<unknown>;

/** Undefined: the key is held by a live task, which is kept. */
function termsOf(unique: Unique, { delayMs, scheduledAt }: EnqueueOptions): UniqueTerms | undefined {
  if (typeof unique !== 'object') return undefined;
  const { scope = 'live', within, onConflict = 'keep' } = unique;
  if (onConflict === 'debounce') return { scope: 'waiting', windowMs: null, replace: true, movesDue: true };
  const movesDue = delayMs !== undefined || scheduledAt !== undefined;
  const replace = onConflict === 'replace';
  if (within !== undefined) return { scope: 'window', windowMs: within, replace, movesDue };
  return scope === 'live' && !replace ? undefined : { scope, windowMs: null, replace, movesDue };
}

function debounced(unique: Unique): NewTask['due'] | undefined {
  if (typeof unique !== 'object' || unique.onConflict !== 'debounce') return undefined;
  return { inMs: unique.within ?? 0 };
}

function rateKeyOf({ name, options: { rateLimit } }: TaskTarget, payload: unknown): string | undefined {
  if (!rateLimit?.key) return undefined;
  const key = made('rate key', name, () => rateLimit.key?.(payload));
  checkRateKey(`The rate key that task ${JSON.stringify(name)} makes`, key);
  return key;
}

function dueOf({ delayMs, scheduledAt }: EnqueueOptions): NewTask['due'] {
  if (scheduledAt === undefined) return { inMs: delayMs ?? 0 };
  if (delayMs !== undefined) {
    throw new InvalidOptionsError('TaskQueue: give either delayMs or scheduledAt, not both.');
  }
  return { at: new Date(scheduledAt) };
}
