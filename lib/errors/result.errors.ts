import { BackieError, quoted } from './backie.error.js';
import { UnrecoverableTaskError } from './execution.errors.js';

/** An error of another process, as it was stored with a task: text only. */
export interface ErrorText {
  readonly name: string;
  readonly message: string;
  readonly stack?: string;
  readonly cause?: ErrorText;
}

/**
 * What a handler returned cannot be stored as JSON. The task fails without further retries: its work is done, and doing
 * it again would return the like.
 */
export class InvalidResultError extends UnrecoverableTaskError {
  constructor(task: string, problem: string, options?: ErrorOptions) {
    super(
      `The result of task ${quoted([task])} cannot be stored: ${problem}. ` +
        `Return what JSON can hold, or nothing, or declare keepResult: false.`,
      options,
    );
  }
}

/** `TaskQueue.result` of a task that has failed. */
export class TaskFailedError extends BackieError {
  constructor(
    task: string,
    readonly id: string,
    /** The error of its last attempt, as it was stored. */
    readonly error: ErrorText,
  ) {
    super(`Task ${quoted([task])} ${id} has failed: ${error.name}: ${error.message}`);
  }
}

/** `TaskQueue.result` of a task that is not there: it never was, has not been committed, or has gone without a trace. */
export class TaskNotFoundError extends BackieError {
  constructor(id: string) {
    super(
      `There is no task ${JSON.stringify(id)}: it is not committed, has ended without being kept, or was removed. ` +
        `Await results after the commit, and declare keepResult: true.`,
    );
  }
}

/** `TaskQueue.result` of a task whose result is not stored. */
export class ResultNotKeptError extends BackieError {
  constructor(task: string, id: string) {
    super(
      `Task ${quoted([task])} ${id} keeps no result. ` +
        `Declare @BackgroundTask(${quoted([task])}, { keepResult: true }) where it runs and where it is awaited.`,
    );
  }
}

/** `TaskQueue.result` waited for as long as it was told to. The task goes on; ask again. */
export class ResultTimeoutError extends BackieError {
  /** @param options.cause Why it could not be looked at lately, if it could not. */
  constructor(id: string, timeoutMs: number, options?: ErrorOptions) {
    super(
      `Task ${id} did not end within ${timeoutMs} ms. It goes on: ask again, or raise timeoutMs of TaskQueue.result().`,
      options,
    );
  }
}
