import type { EntityManager } from 'typeorm';
import type { UniqueOptions } from './unique-options.interface.js';

/** The options of `TaskQueue.enqueueMany`. */
export interface EnqueueManyOptions {
  /** Enqueue inside this transaction: the tasks commit or roll back with it. */
  readonly manager?: EntityManager | undefined;
  /** Milliseconds from now until it is due, by the database's clock. @default 0 */
  readonly delayMs?: number | undefined;
  /** When it is due: a Date, or an ISO string with its time zone. Not together with `delayMs`. */
  readonly scheduledAt?: Date | string | undefined;
  /** Another queue than the task's own. */
  readonly queue?: string | undefined;
  /** Another priority than the task's own, -32,768 to 32,767. */
  readonly priority?: number | undefined;
  /** Another number of retries than the task's own. */
  readonly maxRetries?: number | undefined;
  /** Another timeout than the task's own, in milliseconds. */
  readonly timeoutMs?: number | undefined;
  /** Another expiry than the task's own, in milliseconds from now. */
  readonly expiresInMs?: number | undefined;
  /**
   * The bucket of its task's `rateLimit` that it takes from (1 to 255 characters), for processes that know no more than
   * the task's name; refused for a task that is known to have no rate limit.
   * @default what `rateLimit.key` makes of the payload
   */
  readonly rateKey?: string | undefined;
  /** Another concurrency key (1 to 255 characters) than the one that the task makes of its payload. */
  readonly concurrencyKey?: string | undefined;
  /** Another limit than the task's own; needs a concurrency key. */
  readonly concurrencyLimit?: number | undefined;
}

/** The options of `TaskQueue.enqueue`. */
export interface EnqueueOptions extends EnqueueManyOptions {
  /** Keeps at most one task with this key (1 to 255 characters) per queue and task name. */
  readonly uniqueKey?: string | undefined;
  /** Another key and other rules than the task's own. Not together with `uniqueKey`, which changes the key alone. */
  readonly unique?: UniqueOptions<string> | undefined;
}
