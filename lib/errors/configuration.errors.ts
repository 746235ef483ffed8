import { BackieError, quoted } from './backie.error.js';

/** An option of the module, a queue, a task or a call is unknown, of the wrong type or out of range. */
export class InvalidOptionsError extends BackieError {}

/** What a task's `concurrencyKey` made, or a call was given, can be no concurrency key; nothing has been written. */
export class ConcurrencyKeyError extends InvalidOptionsError {
  /** The function of the task threw, or made no key. */
  static ofTask(task: string, problem: string, options?: ErrorOptions): ConcurrencyKeyError {
    return new ConcurrencyKeyError(
      `The concurrencyKey of task ${quoted([task])} ${problem}. ` +
        `Let it return a string of 1 to 255 characters for every payload.`,
      options,
    );
  }
}

/** A registered task runs on a queue that the module's `queues` do not contain. */
export class QueueNotConfiguredError extends BackieError {
  constructor(queue: string, tasks: readonly string[]) {
    super(
      `Queue ${quoted([queue])} is not configured, but the tasks ${quoted(tasks)} run on it. ` +
        `Add { name: ${quoted([queue])} } to BackieModule's queues.`,
    );
  }
}

/** Two providers declare the same task name. */
export class DuplicateTaskNameError extends BackieError {
  constructor(name: string, first: string, second: string) {
    super(
      `The task name ${quoted([name])} is declared by two providers, ${first} and ${second}. ` +
        `Give one of them another name in @BackgroundTask().`,
    );
  }
}

/** A class decorated with `@BackgroundTask` has no `run` method. */
export class MissingHandlerError extends BackieError {
  constructor(name: string, provider: string) {
    super(
      `${provider} is decorated with @BackgroundTask(${quoted([name])}) but has no run() method. ` +
        `Implement BackgroundTaskHandler.`,
    );
  }
}

/** Something was enqueued that this TaskQueue has no task for. */
export class UnknownTaskError extends BackieError {
  /** @param instance The instance of the module that the task belongs to, when it is another one. */
  constructor(task: string, instance?: string) {
    super(
      instance === undefined
        ? `${task} is not a background task. Decorate it with @BackgroundTask('name').`
        : `${task} is a task of the instance ${quoted([instance])}. ` +
            `Enqueue it with that one's TaskQueue: @Inject(getTaskQueueToken(${quoted([instance])})).`,
    );
  }
}
