import { InvalidOptionsError } from '../errors/configuration.errors.js';
import { NotTransactionalError } from '../errors/transaction.errors.js';
import { longestWaitMs } from './backoff.js';
import type { ClaimedTask } from './task.js';

/** What an attempt lets its handler do to it. */
export interface AttemptControls {
  readonly signal: AbortSignal;
  /** Undefined when the attempt has no transaction. */
  readonly manager: unknown;
  snooze(ms: number): void;
}

/** What a transaction gives to its handler. The engine does not know: whoever does augments it. */
// oxlint-disable-next-line typescript/no-empty-object-type -- augmented outside of the engine
export interface TaskManager {}

/** The attempt that a handler is running: the second argument of `run`. */
export class CurrentTask {
  /** UUIDv7. The same over all attempts: use it as an idempotency key. */
  readonly id: string;
  readonly name: string;
  readonly queue: string;
  readonly priority: number;
  /** Counted from 1; attempts that a crash or a failure ended count, attempts that a shutdown gave back do not. */
  readonly attempt: number;
  /** How many failed attempts came before. */
  readonly retries: number;
  /** After this many retries a failure is final. */
  readonly maxRetries: number;
  /** Milliseconds that this attempt may take. */
  readonly timeoutMs: number;
  /**
   * Grows with every claim of this task and is never reset. A safe integer that may need more than 32 bits: store it as a
   * bigint. Send it along with writes to other systems, and let them refuse a number that is lower
   * than the highest they have seen: then a stalled attempt cannot overwrite its successor.
   */
  readonly fencingToken: number;
  readonly #controls: AttemptControls;
  readonly #times: Pick<ClaimedTask, 'createdAt' | 'scheduledAt'>;

  constructor(task: ClaimedTask, limits: { maxRetries: number; timeoutMs: number }, controls: AttemptControls) {
    this.id = task.id;
    this.name = task.name;
    this.queue = task.queue;
    this.priority = task.priority;
    this.attempt = task.attempt;
    this.retries = task.retries;
    this.maxRetries = limits.maxRetries;
    this.timeoutMs = limits.timeoutMs;
    this.fencingToken = task.claimSeq;
    this.#controls = controls;
    this.#times = task;
  }

  get createdAt(): Date {
    return new Date(this.#times.createdAt);
  }

  /** When this attempt was due. */
  get scheduledAt(): Date {
    return new Date(this.#times.scheduledAt);
  }

  /**
   * Aborts when the attempt is over before the handler is: on a timeout (reason `TaskTimeoutError`), a cancel
   * (`TaskCancelledError`), a lost lease (`LeaseLostError`) or at the end of a shutdown's grace (`ShutdownError`).
   * Whatever the handler does after that is not recorded.
   */
  get signal(): AbortSignal {
    return this.#controls.signal;
  }

  /**
   * Of a task with `transactional`: the transaction of this attempt. What is written by it, the tasks that are enqueued
   * with it and the end of the task commit together when the handler has returned, or not at all.
   *
   * @throws NotTransactionalError when the task is not transactional.
   */
  get manager(): TaskManager {
    const { manager } = this.#controls;
    if (manager === undefined) throw new NotTransactionalError(this.name);
    return manager as TaskManager;
  }

  /**
   * Asks for another attempt later, without using up a retry: call it and return. What it waits for may not be there yet,
   * or a service may have asked for patience. Throwing afterwards is a failed attempt all the same.
   *
   * @param ms Milliseconds until the task is due again, by the database's clock: 0 to 10 years.
   * @throws InvalidOptionsError for anything else; the reason of `signal` when the attempt is over.
   */
  snooze(ms: number): void {
    if (typeof ms !== 'number' || !(ms >= 0 && ms <= longestWaitMs)) {
      throw new InvalidOptionsError(
        `Task "${this.name}" ${this.id}: snooze() takes a number of milliseconds from 0 to ${longestWaitMs}, not ${String(ms)}.`,
      );
    }
    this.#controls.snooze(ms);
  }
}
