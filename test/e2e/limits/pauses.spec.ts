import { expect, it } from 'vitest';
import { startWorker } from '../../fixtures/worker-process.js';
import { bootApp } from '../../support/app.js';
import { until } from '../../support/tasks.js';

it('keeps a paused task from two other processes, which go on with the rest, until it is resumed', async () => {
  const { tasks, schema } = await bootApp([], { workers: false });
  await tasks.pauseTask('noting');
  const workers = await Promise.all([startWorker({ schema }), startWorker({ schema })]);
  const { id } = await tasks.enqueue('noting', 'held');
  await tasks.enqueueMany('quick', Array.from({ length: 200 }));
  await until(
    () => tasks.counts(),
    ({ ready, running }) => ready + running === 1,
  );
  expect(await tasks.find(id)).toMatchObject({ state: 'ready', attempt: 0 });
  const noted = Promise.race(workers.map((worker) => worker.next('noted')));
  await tasks.resumeTask('noting');
  expect(await noted).toMatchObject([{ id, payload: 'held' }]);
});

it('keeps a paused queue from two other processes until it is resumed', async () => {
  const { tasks, schema } = await bootApp([], { workers: false });
  const queues = [{ name: 'default' }, { name: 'other' }];
  const workers = await Promise.all([startWorker({ schema, queues }), startWorker({ schema, queues })]);
  await tasks.pause('default');
  const { id } = await tasks.enqueue('noting', 'held');
  const beside = await tasks.enqueue('noting', 'beside', { queue: 'other' });
  const [first] = await Promise.race(workers.map((worker) => worker.next('noted')));
  expect(first).toMatchObject({ id: beside.id });
  expect(await tasks.find(id)).toMatchObject({ state: 'ready', attempt: 0 });
  const noted = Promise.race(workers.map((worker) => worker.next('noted')));
  await tasks.resume('default');
  expect(await noted).toMatchObject([{ id, payload: 'held' }]);
});
