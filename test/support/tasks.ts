import {
  BackgroundTask,
  type BackgroundTaskHandler,
  type BackgroundTaskOptions,
  type CurrentTask,
  type Task,
  type TaskQueue,
} from 'nestjs-backie';
import { sql, type TestApp } from './app.js';

/** A task class whose handler is this function. */
export function taskOf<Payload = unknown>(
  name: string,
  run: (payload: Payload, task: CurrentTask) => unknown,
  options: BackgroundTaskOptions = {},
) {
  class TestTask implements BackgroundTaskHandler<Payload, unknown> {
    run(payload: Payload, task: CurrentTask): unknown {
      return run(payload, task);
    }
  }
  BackgroundTask(name, options)(TestTask);
  return TestTask;
}

export interface Deferred<Value> {
  readonly promise: Promise<Value>;
  resolve(value: Value): void;
  reject(error: unknown): void;
}

/** A promise that the test settles. */
export function deferred<Value = void>(): Deferred<Value> {
  let resolve!: (value: Value) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<Value>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** What a handler that never settles returns. */
export function forever(): Promise<never> {
  return new Promise(() => {});
}

/** The reason with which the signal aborts. */
export function abortReason(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(signal.reason);
    else signal.addEventListener('abort', () => resolve(signal.reason), { once: true });
  });
}

/** Looks again and again, each look being a round trip to the database, until what is seen holds. */
export async function until<Seen>(look: () => Promise<Seen>, holds: (seen: Seen) => boolean): Promise<Seen> {
  const giveUpAt = performance.now() + 20_000;
  for (;;) {
    const seen = await look();
    if (holds(seen)) return seen;
    if (performance.now() > giveUpAt) throw new Error(`Waited in vain; last seen: ${JSON.stringify(seen)}`);
  }
}

export async function found(tasks: TaskQueue, id: string): Promise<Task> {
  const task = await tasks.find(id);
  if (!task) throw new Error(`There is no task ${id}.`);
  return task;
}

/** Makes a task that waits due now. */
export async function hasten({ schema, pool }: TestApp, id: string): Promise<void> {
  await sql(`UPDATE "${schema}"."task" SET "scheduled_at" = now() WHERE "id" = $1`, [id]);
  pool.wake();
}
