import { LeaseLostError, ShutdownError, TaskCancelledError, TaskTimeoutError } from '../errors/execution.errors.js';
import { type AttemptControls, CurrentTask } from './current-task.js';
import type { DeadlineWatch, Timed } from './deadline-watch.js';
import type { Outcome } from './settlement.js';
import type { ClaimedTask } from './task.js';
import type { TaskHandler } from './task-definition.js';

const returned: Outcome = { kind: 'returned' };

/** Most handlers return nothing. */
function returning(value: unknown): Outcome {
  return value === undefined ? returned : { kind: 'returned', value };
}

/**
 * One attempt of one task, from the call of the handler to its outcome.
 *
 * The attempt is over as soon as its handler settles or its signal aborts, whichever is first: a handler that ignores
 * the signal, or never settles, can hold neither its slot nor the pool. What it does later is ignored, its rejection
 * included.
 */
export class Execution implements AttemptControls, Timed {
  /** Monotonic milliseconds (performance.now) at which the timeout ends the attempt. */
  readonly deadline: number;
  readonly startedAt = performance.now();
  /** What the handler gets as `task.manager`, when the attempt has a transaction. */
  manager: unknown;
  private aborter: AbortController | undefined;
  private settled: Outcome | undefined;
  private over: (outcome: Outcome) => void = () => {};
  private snoozeMs: number | undefined;

  constructor(
    readonly task: ClaimedTask,
    readonly limits: { readonly maxRetries: number; readonly timeoutMs: number },
    private readonly deadlines: DeadlineWatch,
  ) {
    this.deadline = this.startedAt + limits.timeoutMs;
  }

  /**
   * Calls the handler. Call it once.
   *
   * @param over Called once, never before this returns: ten thousands of handlers a second are worth no promise more
   * than their own.
   */
  run(handler: TaskHandler, over: (outcome: Outcome) => void): void {
    const { settled } = this;
    if (settled) return queueMicrotask(() => over(settled));
    this.over = over;
    const running = call(handler, this.task.payload, new CurrentTask(this.task, this.limits, this));
    // The handler is waited for; its timer is not.
    if (!this.settled) this.deadlines.add(this);
    running.then(
      (value) => this.end(this.snoozeMs === undefined ? returning(value) : { kind: 'snoozed', delayMs: this.snoozeMs }),
      (error: unknown) => this.end({ kind: 'threw', error }),
    );
  }

  snooze(ms: number): void {
    if (this.abortReason) throw this.abortReason;
    this.snoozeMs = ms;
  }

  cancel(): void {
    const error = new TaskCancelledError(this.task.name, this.task.id);
    this.end({ kind: 'cancelled', error }, error);
  }

  interrupt(): void {
    this.end({ kind: 'interrupted' }, new ShutdownError(this.task.name, this.task.id));
  }

  lose(): void {
    this.end({ kind: 'lost' }, new LeaseLostError(this.task.name, this.task.id));
  }

  timeOut(): void {
    const error = new TaskTimeoutError(this.task.name, this.limits.timeoutMs);
    this.end({ kind: 'timedOut', error }, error);
  }

  private end(outcome: Outcome, reason?: Error): void {
    if (this.settled) return;
    this.settled = outcome;
    this.deadlines.delete(this);
    if (!reason) return this.over(outcome);
    this.abortReason = reason;
    // Whoever ends attempts may be going through a list of them.
    queueMicrotask(() => this.over(outcome));
    this.aborter?.abort(reason);
  }

  private abortReason: Error | undefined;

  /** Made only for handlers that ask for the signal: most do not, and it costs more than all the rest here. */
  get signal(): AbortSignal {
    if (!this.aborter) {
      this.aborter = new AbortController();
      if (this.abortReason) this.aborter.abort(this.abortReason);
    }
    return this.aborter.signal;
  }
}

/** Calls a handler so that a synchronous throw is a rejection too. The promise of an async handler is taken as it is. */
function call(handler: TaskHandler, payload: unknown, current: CurrentTask): Promise<unknown> {
  try {
    return Promise.resolve(handler(payload, current));
  } catch (error) {
    return Promise.reject(error);
  }
}
