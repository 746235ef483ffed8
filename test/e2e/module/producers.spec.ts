import { BackgroundTask, type BackgroundTaskHandler } from 'nestjs-backie';
import { expect, it } from 'vitest';
import { bootApp, next, sql } from '../../support/app.js';

@BackgroundTask('work')
class Work implements BackgroundTaskHandler<number> {
  readonly done: number[] = [];

  run(payload: number): void {
    this.done.push(payload);
  }
}

@BackgroundTask('stray', { queue: 'not-configured' })
class Stray implements BackgroundTaskHandler {
  run(): void {}
}

it('only enqueues when workers is false; another process runs the tasks', async () => {
  const producer = await bootApp([Work], { workers: false });
  const { schema } = producer;
  const { id } = await producer.tasks.enqueue(Work, 1);
  expect(producer.pool.status()).toMatchObject({ state: 'stopped', workerId: null, queues: [] });
  expect(await sql(`SELECT FROM "${schema}".worker`)).toEqual([]);
  expect(await producer.tasks.find(id)).toMatchObject({ state: 'ready', attempt: 0 });

  const worker = await bootApp([Work], { schema });
  const done = next(worker.events, 'done', 2);
  await producer.tasks.enqueue(Work, 2);
  await done;
  expect(worker.app.get(Work).done.toSorted((a, b) => a - b)).toEqual([1, 2]);
  expect(producer.app.get(Work).done).toEqual([]);
});

it('works once it is started by hand, and gives its worker up again', async () => {
  const { app, tasks, events, pool, schema } = await bootApp([Work], { workers: false });
  await tasks.enqueue(Work, 1);
  const done = next(events, 'done');
  await pool.start();
  await done;
  expect(app.get(Work).done).toEqual([1]);
  expect(await sql(`SELECT id FROM "${schema}".worker`)).toEqual([{ id: pool.status().workerId }]);
  await pool.drain();
  expect(await sql(`SELECT FROM "${schema}".worker`)).toEqual([]);
});

it('enqueues on queues that other processes configure', async () => {
  const { tasks } = await bootApp([Stray], { workers: false });
  const { id } = await tasks.enqueue(Stray);
  expect(await tasks.find(id)).toMatchObject({ state: 'ready', queue: 'not-configured' });
});

it('says at start() that a queue is missing', async () => {
  const { pool } = await bootApp([Stray], { workers: false });
  await expect(pool.start()).rejects.toThrow(/"not-configured".*"stray"/);
  expect(pool.status().state).toBe('stopped');
});
