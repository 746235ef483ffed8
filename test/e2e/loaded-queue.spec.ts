import { BackgroundTask, type BackgroundTaskHandler, TaskQueue } from 'nestjs-backie';
import { expect, it } from 'vitest';
import { bootApp, next } from '../support/app.js';

@BackgroundTask('empty', { queue: 'loaded_queue' })
class EmptyTask implements BackgroundTaskHandler<void> {
  runs = 0;

  run(): void {
    this.runs++;
  }
}

@BackgroundTask('final', { queue: 'loaded_queue' })
class FinalTask implements BackgroundTaskHandler<void> {
  runs = 0;

  run(): void {
    this.runs++;
  }
}

it('runs 1,000 empty tasks and a final one with 300 workers, leaves the table empty and stops', async () => {
  const { app, tasks, events, pool } = await bootApp([EmptyTask, FinalTask], {
    queues: [{ name: 'loaded_queue', concurrency: 300, pollIntervalMs: 100 }],
  });
  const done = next(events, 'done', 1_001);
  await Promise.all(Array.from({ length: 1_000 }, () => tasks.enqueue(EmptyTask)));
  await tasks.enqueue(FinalTask);
  await done;
  expect(app.get(EmptyTask).runs).toBe(1_000);
  expect(app.get(FinalTask).runs).toBe(1);
  expect(await app.get(TaskQueue).counts()).toEqual({ ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 });
  await pool.drain();
  expect(pool.status().state).toBe('stopped');
});
