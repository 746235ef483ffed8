import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { Backoff } from '../engine/backoff.js';
import type { RateLimit } from '../engine/limits.js';
import type { UniqueOptions } from './unique-options.interface.js';
import type { TransactionTerms } from '../engine/task-transaction.js';
import type { ScheduleTimes } from './schedule-options.interface.js';

/** The rate limit of a task. */
export interface TaskRateLimit<Payload = unknown> extends RateLimit {
  readonly key?: ((payload: Payload) => string) | undefined;
}

/** The options of `@BackgroundTask(name, options)`. */
export interface BackgroundTaskOptions<Payload = unknown> extends Partial<ScheduleTimes> {
  /** The queue it runs on; it must be among the module's `queues`. @default 'default' */
  readonly queue?: string | undefined;
  /** How many failed attempts are followed by another, 0 to 1,000,000. @default 3, so that there are 4 attempts */
  readonly maxRetries?: number | undefined;
  /** How long to wait before each retry. @default Backoff.exponential(): 2, 4, 8 … s, at most 1 h, up to +10 % */
  readonly backoff?: Backoff | undefined;
  /** How many milliseconds an attempt may take. @default the queue's executionTimeoutMs, else 120_000 */
  readonly timeoutMs?: number | undefined;
  /** Higher runs first, -32,768 to 32,767. @default 0 */
  readonly priority?: number | undefined;
  /**
   * A task that has not started this many milliseconds after it was enqueued ends as cancelled, with the reason
   * `expired`. One that has started once does not expire. @default never
   */
  readonly expiresInMs?: number | undefined;
  /**
   * Keeps at most one task per key on the queue: `true` takes a hash of the payload as the key (the order of keys
   * does not matter), a function makes it from the payload (1 to 255 characters). While a task with the key is ready
   * or running, `enqueue` stores nothing and returns its id with `duplicate: true`. An object says more: for how long the
   * key is held, and what becomes of the task that holds it.
   */
  readonly unique?:
    boolean | ((payload: Payload) => string) | UniqueOptions<true | ((payload: Payload) => string)> | undefined;
  /**
   * Runs each attempt in a transaction, whose manager is `task.manager`: what is written with it, the tasks that are
   * enqueued with it and the end of the task commit together, or not at all. `{ isolation }` names its level. The store
   * must be a database. @default false
   */
  readonly transactional?: boolean | TransactionTerms | undefined;
  /**
   * At most `max` starts in any `perMs` milliseconds over all processes, attempts that are repeated included. With `key`
   * that holds for each key (1 to 255 characters) by itself.
   */
  readonly rateLimit?: TaskRateLimit<Payload> | undefined;
  /**
   * Lets at most `concurrencyLimit` of the tasks for which it returns the same key (1 to 255 characters) run at once, in
   * all processes together: the others wait, in the order of enqueueing. Keys count apart for each queue.
   */
  readonly concurrencyKey?: ((payload: Payload) => string) | undefined;
  /**
   * How many tasks of a concurrency key may run at once, 1 to 100,000; one that waits for its retry counts as running.
   * @default 1, one after the other
   */
  readonly concurrencyLimit?: number | undefined;
  /** Any Standard Schema validator (zod, valibot, ArkType …). What it returns is what is stored. */
  readonly schema?: StandardSchemaV1<unknown, Payload> | undefined;
  /**
   * Of the tasks that `cron` enqueues: an object without a `tick`, which each gets with `tick` added, the time for which
   * it was enqueued as an ISO string. @default {}
   */
  readonly payload?: Omit<Payload, 'tick'> | undefined;
  /**
   * True: what `run` returns is stored as JSON, by the rules of payloads, and the task stays when it is done, whatever the
   * queue keeps; `TaskQueue.result` gives it. False: never. @default only where the queue keeps done tasks
   */
  readonly keepResult?: boolean | undefined;
  /**
   * The queue under which the task stays, with its attempts, when it has failed for good; `TaskQueue.redrive` sends it
   * back. Nobody works what lies there. 1 to 128 characters, not the task's own queue.
   */
  readonly deadLetter?: string | undefined;
  /** Which instance of BackieModule runs it, when the module was imported with a `name`. */
  readonly instance?: string | undefined;
}
