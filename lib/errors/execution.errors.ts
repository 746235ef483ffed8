import { BackieError, quoted } from './backie.error.js';

/** Throw it from a handler to fail the task at once, without the retries that are left. */
export class UnrecoverableTaskError extends BackieError {}

/** The attempt took longer than its timeout: `task.signal` aborts with it and the attempt counts as failed. */
export class TaskTimeoutError extends BackieError {
  constructor(task: string, timeoutMs: number) {
    super(
      `Task ${quoted([task])} did not finish within ${timeoutMs} ms. Raise its timeoutMs or pass task.signal to what it waits for.`,
    );
  }
}

/**
 * The task was cancelled on request: `task.signal` aborts with it, and `TaskQueue.result` rejects with it, also when the
 * task has expired.
 */
export class TaskCancelledError extends BackieError {
  constructor(
    task: string,
    id: string,
    /** Why it was cancelled, if nobody asked for it. */
    readonly reason?: string,
  ) {
    super(
      reason === undefined
        ? `Task ${quoted([task])} ${id} was cancelled on request.`
        : `Task ${quoted([task])} ${id} was cancelled: ${reason}.`,
    );
  }
}

/** The worker no longer holds the task's lease; another worker may be running it. `task.signal` aborts with it. */
export class LeaseLostError extends BackieError {
  constructor(task: string, id: string) {
    super(`The lease of task ${quoted([task])} ${id} is lost; whatever this attempt still does is not recorded.`);
  }
}

/** The process shuts down and the grace is over: the task goes back to its queue. `task.signal` aborts with it. */
export class ShutdownError extends BackieError {
  constructor(task: string, id: string) {
    super(`Task ${quoted([task])} ${id} was interrupted by a shutdown and goes back to its queue.`);
  }
}

/** The task was held by as many workers as `maxCrashes` when they died, and is not tried again. */
export class QuarantinedError extends BackieError {
  constructor(task: string, id: string, crashes: number) {
    super(
      `Task ${quoted([task])} ${id} was held by ${crashes} workers when they died; it is not tried again. ` +
        `Find out what it does to its process, then retry it.`,
    );
  }
}
