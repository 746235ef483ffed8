import type { EntityManager } from 'typeorm';
import type { CurrentTask } from '../engine/current-task.js';

declare module '../engine/current-task.js' {
  /** What `task.manager` is: TypeORM's manager of the attempt's transaction. */
  interface TaskManager extends EntityManager {}
}

/**
 * What a class decorated with `@BackgroundTask` implements.
 *
 * A task runs at least once: after a crash it runs again, so write handlers whose second run does no harm.
 */
export interface BackgroundTaskHandler<Payload = unknown, Result = void> {
  /**
   * Runs one attempt. Returning ends the task as done; throwing anything is a failed attempt, which is retried while
   * retries are left, unless it is an `UnrecoverableTaskError`. What it returns is stored if the task keeps its result.
   *
   * @param payload What was enqueued, as JSON brought it back. An `undefined` payload arrives as null.
   * @param task The attempt: its id, number and abort signal.
   */
  run(payload: Payload, task: CurrentTask): Promise<Result> | Result;
}

/** A class that handles a task. */
export type BackgroundTaskClass<Payload = never> = abstract new (
  ...args: never[]
) => BackgroundTaskHandler<Payload, unknown>;

/** The payload of a task class, taken from the first parameter of its `run`. */
export type PayloadOf<TaskClass> = TaskClass extends abstract new (...args: never[]) => {
  run(payload: infer Payload, ...rest: never[]): unknown;
}
  ? Payload
  : never;

/** What a task class gives as its result: what its `run` resolves to. JSON brings it back: a Date as a string. */
export type ResultOf<TaskClass> = TaskClass extends abstract new (...args: never[]) => {
  run(...args: never[]): infer Result;
}
  ? Awaited<Result>
  : never;
