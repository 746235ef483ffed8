import { expect, it } from 'vitest';
import { bootApp, freshSchema, next } from '../../support/app.js';
import { deferred, found, taskOf, until } from '../../support/tasks.js';
import { startWorker } from '../../fixtures/worker-process.js';

const short = { leaseMs: 2_000, heartbeatMs: 100 };
const keepAll = { retention: 'keepAll' as const };

it('lets two processes drain 2,000 tasks, each of them exactly once', async () => {
  const { tasks, schema } = await bootApp([], { workers: false });
  const workers = await Promise.all([startWorker({ schema }), startWorker({ schema })]);
  const starts = workers.map(() => [] as string[]);
  const dones = workers.map(() => [] as string[]);
  const all = deferred();
  let left = 2_000;
  for (const [index, worker] of workers.entries()) {
    worker.messages('started').subscribe((message) => starts[index].push((message as { id: string }).id));
    worker.messages('done').subscribe((message) => {
      dones[index].push((message as { id: string }).id);
      if (--left === 0) all.resolve();
    });
  }
  const ids = (await tasks.enqueueMany('quick', Array.from({ length: 2_000 }))).map(({ id }) => id).toSorted();
  await all.promise;
  expect(dones.flat().toSorted()).toEqual(ids);
  expect(starts.flat().toSorted()).toEqual(ids);
  for (const own of dones) expect(own.length).toBeGreaterThan(0);
  expect(await tasks.counts()).toEqual({ ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 });
  await Promise.all(workers.map((worker) => worker.close()));
});

it('renews the lease of a process whose handler blocks the event loop for longer than the lease', async () => {
  const schema = freshSchema();
  const { tasks, events } = await bootApp([taskOf('blocking', () => {})], {
    schema,
    ...short,
    workers: false,
    defaults: keepAll,
  });
  const worker = await startWorker({ schema, ...short, defaults: keepAll });
  // It works nothing itself, but it would rescue.
  const rescuer = await bootApp([], { schema, ...short });
  const rescued: unknown[] = [];
  for (const { rescued: rescues } of [events, rescuer.events]) rescues.subscribe((event) => rescued.push(event));
  const starts: unknown[] = [];
  worker.messages('started').subscribe((message) => starts.push(message));
  const done = worker.next('done');
  const { id } = await tasks.enqueue('blocking', 3_000);
  expect(await done).toEqual([{ kind: 'done', id, attempt: 1 }]);
  expect(starts).toHaveLength(1);
  expect(rescued).toEqual([]);
  expect(await found(tasks, id)).toMatchObject({
    state: 'done',
    claimSeq: 1,
    crashes: 0,
    attempts: [{ number: 1, outcome: 'done' }],
  });
});

it.each<[string, NodeJS.Signals]>([
  ['was killed', 'SIGKILL'],
  ['ends on SIGTERM without the shutdown hooks of Nest', 'SIGTERM'],
])('rescues the task of a process that %s, and counts a crash, not a retry', async (_, signal) => {
  const schema = freshSchema();
  const worker = await startWorker({ schema, ...short });
  const Hanging = taskOf('hanging', () => {});
  const rescuer = await bootApp([Hanging], { schema, ...short, workers: false, defaults: keepAll });
  const started = worker.next('started');
  const { id } = await rescuer.tasks.enqueue('hanging');
  await started;
  const { workerId } = await found(rescuer.tasks, id);
  await worker.kill(signal);

  const rescued = next(rescuer.events, 'rescued');
  const done = next(rescuer.events, 'done');
  await rescuer.pool.start();
  expect(await rescued).toMatchObject([{ id, name: 'hanging', attempt: 1, crashes: 1, quarantined: false }]);
  expect(await done).toMatchObject([{ id, attempt: 2 }]);
  expect(await found(rescuer.tasks, id)).toMatchObject({
    state: 'done',
    attempt: 2,
    retries: 0,
    crashes: 1,
    claimSeq: 2,
    attempts: [
      { number: 1, outcome: 'crashed', workerId },
      { number: 2, outcome: 'done' },
    ],
  });
});

it('fails a task as quarantined once as many workers as maxCrashes died with it', async () => {
  const schema = freshSchema();
  const worker = await startWorker({ schema, ...short });
  let runs = 0;
  const Hanging = taskOf('hanging', () => runs++);
  const rescuer = await bootApp([Hanging], { schema, ...short, maxCrashes: 1, workers: false });
  const started = worker.next('started');
  const { id } = await rescuer.tasks.enqueue('hanging');
  await started;
  await worker.kill();
  const rescued = next(rescuer.events, 'rescued');
  await rescuer.pool.start();
  expect(await rescued).toMatchObject([{ id, crashes: 1, quarantined: true }]);
  const task = await found(rescuer.tasks, id);
  expect(task).toMatchObject({ state: 'failed', crashes: 1 });
  expect(task.attempts).toMatchObject([{ number: 1, outcome: 'crashed', error: { name: 'QuarantinedError' } }]);
  expect(runs).toBe(0);

  // Somebody has mended it.
  const done = next(rescuer.events, 'done');
  expect(await rescuer.tasks.retry(id)).toBe(true);
  await done;
  expect(runs).toBe(1);
});

it('lets a process that was stopped past its lease change nothing when it wakes up', async () => {
  const schema = freshSchema();
  const worker = await startWorker({ schema, ...short });
  const gate = deferred();
  const Hanging = taskOf('hanging', () => gate.promise);
  const successor = await bootApp([Hanging], { schema, ...short, workers: false, defaults: keepAll });
  const { tasks, events, pool } = successor;
  const startedThere = worker.next('started');
  const { id } = await tasks.enqueue('hanging');
  await startedThere;

  worker.child.kill('SIGSTOP');
  const startedHere = next(events, 'started');
  await pool.start();
  expect(await startedHere).toMatchObject([{ id, attempt: 2 }]);

  // Its handler returns in the moment in which it wakes up.
  const lost = worker.next('lost');
  const finished = worker.next('finished');
  worker.finish();
  worker.child.kill('SIGCONT');
  expect(await lost).toEqual([{ kind: 'lost', id, attempt: 1 }]);
  await finished;
  // The other one is in the middle of it, as before; the stopped process comes back as a new worker.
  await until(
    () => found(tasks, id),
    ({ state }) => state === 'running',
  );
  expect(await found(tasks, id)).toMatchObject({ state: 'running', claimSeq: 2, workerId: pool.status().workerId });
  const again = worker.next('done');
  await pool.stop();
  await tasks.enqueue('quick');
  await again;

  const done = next(events, 'done');
  gate.resolve();
  expect(await done).toMatchObject([{ id, attempt: 2 }]);
  expect(await found(tasks, id)).toMatchObject({
    state: 'done',
    attempts: [{ outcome: 'crashed' }, { outcome: 'done' }],
  });
});
