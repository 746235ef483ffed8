import { LeaseLostError, ShutdownError, TaskCancelledError, TaskTimeoutError } from '../errors/execution.errors.js';
import { CurrentTask } from './current-task.js';
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
export class Execution {
  /** Monotonic milliseconds (performance.now) at which the timeout ends the attempt. */
  readonly deadline: number;
  readonly startedAt = performance.now();
  /** What the handler gets as `task.manager`, when the attempt has a transaction. */
  manager: unknown;
  private controller: AbortController | undefined;
  private settled: Outcome | undefined;
  private over: (outcome: Outcome) => void = () => {};
  private timer: NodeJS.Timeout | undefined;
  private snoozeMs: number | undefined;

  constructor(
    readonly task: ClaimedTask,
    readonly limits: { readonly maxRetries: number; readonly timeoutMs: number },
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
    this.timer = setTimeout(() => this.timeOut(), this.limits.timeoutMs);
    const controls = {
      controller: () => this.abortController(),
      snooze: (ms: number) => this.snooze(ms),
      manager: () => this.manager,
    };
    const current = new CurrentTask(this.task, this.limits, controls);
    call(handler, this.task.payload, current).then(
      (value) => this.end(this.snoozeMs === undefined ? returning(value) : { kind: 'snoozed', delayMs: this.snoozeMs }),
      (error: unknown) => this.end({ kind: 'threw', error }),
    );
  }

  private snooze(ms: number): void {
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

  private timeOut(): void {
    const error = new TaskTimeoutError(this.task.name, this.limits.timeoutMs);
    this.end({ kind: 'timedOut', error }, error);
  }

  private end(outcome: Outcome, reason?: Error): void {
    if (this.settled) return;
    this.settled = outcome;
    clearTimeout(this.timer);
    if (!reason) return this.over(outcome);
    this.abortReason = reason;
    // Whoever ends attempts may be going through a list of them.
    queueMicrotask(() => this.over(outcome));
    this.controller?.abort(reason);
  }

  private abortReason: Error | undefined;

  /** Made only for handlers that ask for the signal: most do not, and it costs more than all the rest here. */
  private abortController(): AbortController {
    if (!this.controller) {
      this.controller = new AbortController();
      if (this.abortReason) this.controller.abort(this.abortReason);
    }
    return this.controller;
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
