import { LeaseLostError, ShutdownError, TaskCancelledError, TaskTimeoutError } from '../errors/execution.errors.js';
import { CurrentTask } from './current-task.js';
import type { Outcome } from './settlement.js';
import type { ClaimedTask } from './task.js';
import type { TaskHandler } from './task-definition.js';

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
  private controller: AbortController | undefined;
  private settled: Outcome | undefined;
  private resolve: (outcome: Outcome) => void = () => {};
  private timer: NodeJS.Timeout | undefined;

  constructor(
    readonly task: ClaimedTask,
    readonly limits: { readonly maxRetries: number; readonly timeoutMs: number },
  ) {
    this.deadline = this.startedAt + limits.timeoutMs;
  }

  /** Never rejects. Call it once. */
  run(handler: TaskHandler): Promise<Outcome> {
    return new Promise((resolve) => {
      this.resolve = resolve;
      if (this.settled) return resolve(this.settled);
      this.timer = setTimeout(() => this.timeOut(), this.limits.timeoutMs);
      const current = new CurrentTask(this.task, this.limits, () => this.abortController());
      call(handler, this.task.payload, current).then(
        () => this.end({ kind: 'returned' }),
        (error: unknown) => this.end({ kind: 'threw', error }),
      );
    });
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
    // Resolved before the signal aborts: whatever a listener of the signal does, the outcome stands.
    this.resolve(outcome);
    if (reason) this.abortReason = reason;
    if (reason && this.controller) this.controller.abort(reason);
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

/** Calls a handler so that a synchronous throw is a rejection too. */
async function call(handler: TaskHandler, payload: unknown, current: CurrentTask): Promise<unknown> {
  return handler(payload, current);
}
