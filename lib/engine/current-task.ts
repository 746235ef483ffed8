import type { ClaimedTask } from './task.js';

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
   * Grows with every claim of this task and is never reset. Send it along with writes to other systems, and let them
   * refuse a number that is lower than the highest they have seen: then a stalled attempt cannot overwrite its successor.
   */
  readonly fencingToken: number;
  readonly #controller: () => AbortController;
  readonly #times: Pick<ClaimedTask, 'createdAt' | 'scheduledAt'>;

  constructor(task: ClaimedTask, limits: { maxRetries: number; timeoutMs: number }, controller: () => AbortController) {
    this.id = task.id;
    this.name = task.name;
    this.queue = task.queue;
    this.priority = task.priority;
    this.attempt = task.attempt;
    this.retries = task.retries;
    this.maxRetries = limits.maxRetries;
    this.timeoutMs = limits.timeoutMs;
    this.fencingToken = task.claimSeq;
    this.#controller = controller;
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
    return this.#controller().signal;
  }
}
