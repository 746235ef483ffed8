import { BackgroundTask, InvalidOptionsError } from 'nestjs-backie';
import { expect, it } from 'vitest';
import { doneIn, startWorker } from '../../fixtures/worker-process.js';
import { bootApp, freshSchema, next } from '../../support/app.js';
import { found, taskOf, until } from '../../support/tasks.js';

const deadLetter = 'dead';

it('moves a task whose retries are used up there with its history, and sends it back', async () => {
  let mended = false;
  const Work = taskOf('work', () => (mended ? undefined : Promise.reject(new Error('no'))), {
    maxRetries: 1,
    backoff: () => 0,
    deadLetter,
  });
  const { tasks, events } = await bootApp([Work], { defaults: { retention: 'removeAll' } });
  const failed = next(events, 'failed');
  const { id } = await tasks.enqueue(Work, { order: 7 });
  expect(await failed).toMatchObject([{ id, queue: 'default', attempt: 2 }]);
  expect(await found(tasks, id)).toMatchObject({
    state: 'failed',
    queue: 'dead',
    deadFrom: 'default',
    payload: { order: 7 },
    attempts: [
      { number: 1, outcome: 'failed', error: { message: 'no', stack: expect.any(String) } },
      { number: 2, outcome: 'failed' },
    ],
  });
  mended = true;
  const done = next(events, 'done');
  expect(await tasks.redrive('dead')).toBe(1);
  expect(await done).toMatchObject([{ id, queue: 'default', attempt: 3 }]);
  expect(await tasks.redrive('dead')).toBe(0);
});

it('moves a task there that throws UnrecoverableTaskError, and none that is cancelled', async () => {
  const { UnrecoverableTaskError } = await import('nestjs-backie');
  const Work = taskOf('work', () => Promise.reject(new UnrecoverableTaskError('never')), { deadLetter });
  const { tasks, events } = await bootApp([Work]);
  const failed = next(events, 'failed');
  const { id } = await tasks.enqueue(Work);
  await failed;
  expect(await found(tasks, id)).toMatchObject({ queue: 'dead', attempt: 1 });
  const waiting = await tasks.enqueue(Work, null, { delayMs: 60_000 });
  await tasks.cancel(waiting.id);
  expect(await found(tasks, waiting.id)).toMatchObject({ queue: 'default', deadFrom: null });
});

it('redrives those that a filter names, and leaves those whose unique key is taken', async () => {
  const options = { maxRetries: 0, deadLetter };
  const fail = (_: unknown, { attempt }: { attempt: number }) => {
    if (attempt === 1) throw new Error('no');
  };
  const [One, Two] = [taskOf('one', fail, options), taskOf('two', fail, options)];
  const { tasks, events, pool } = await bootApp([One, Two], { queues: [{ name: 'side' }] });
  const failed = next(events, 'failed', 4);
  const [one, , side, unique] = [
    await tasks.enqueue(One),
    await tasks.enqueue(Two),
    await tasks.enqueue(Two, null, { queue: 'side' }),
    await tasks.enqueue(One, null, { uniqueKey: 'k' }),
  ];
  await failed;
  await pool.stop();
  const holder = await tasks.enqueue(One, null, { uniqueKey: 'k', delayMs: 60_000 });
  expect(holder.duplicate).toBe(false);
  expect(await tasks.redrive('dead', { deadFrom: 'side' })).toBe(1);
  expect(await found(tasks, side.id)).toMatchObject({ state: 'ready', queue: 'side' });
  expect(await tasks.redrive('dead', { name: 'one' })).toBe(1);
  expect(await found(tasks, one.id)).toMatchObject({ state: 'ready', queue: 'default' });
  expect(await found(tasks, unique.id)).toMatchObject({ state: 'failed', queue: 'dead' });
  expect(await tasks.redrive('dead')).toBe(1);
  expect(await tasks.counts('dead')).toMatchObject({ failed: 1 });
  await tasks.cancel(holder.id);
  expect(await tasks.redrive('dead', { uniqueKey: 'k' })).toBe(1);
});

it('refuses a queue of dead letters that is the own one, and a queue that would be sent back to itself', async () => {
  const declare = (options: Parameters<typeof BackgroundTask>[1]) => () => BackgroundTask('bad', options);
  expect(declare({ queue: 'email', deadLetter: 'email' })).toThrow(InvalidOptionsError);
  expect(declare({ deadLetter: 'default' })).toThrow('Name another queue');
  expect(declare({ deadLetter: '' })).toThrow(InvalidOptionsError);
  const Work = taskOf('work', () => Promise.reject(new Error('no')), { maxRetries: 0, deadLetter });
  const { tasks, events } = await bootApp([Work], { queues: [{ name: 'dead' }] });
  await expect(tasks.enqueue(Work, null, { queue: 'dead' })).rejects.toThrow(InvalidOptionsError);
  const failed = next(events, 'failed');
  await tasks.enqueue(Work);
  await failed;
  await expect(tasks.redrive('dead', { deadFrom: 'dead' })).rejects.toThrow('back to itself');
  await expect(tasks.redrive('')).rejects.toThrow(InvalidOptionsError);
  await expect(tasks.redrive('dead', { queue: 'dead' } as never)).rejects.toThrow(InvalidOptionsError);
  await expect(tasks.redrive('dead', { state: 'failed' } as never)).rejects.toThrow(InvalidOptionsError);
  await expect(tasks.redrive('dead', { before: 'now' } as never)).rejects.toThrow('a valid Date');
  expect(await tasks.counts('dead')).toMatchObject({ failed: 1, ready: 0 });
});

it('gets the task that kills every process it runs in, from the last of them', { timeout: 60_000 }, async () => {
  const schema = freshSchema();
  const short = { leaseMs: 1_000, heartbeatMs: 100, maxCrashes: 2 };
  const { tasks } = await bootApp([], { schema, workers: false });
  const { id } = await tasks.enqueue('deadly');
  for (let crash = 1; crash <= 2; crash++) {
    const dying = await startWorker({ schema, ...short });
    if (dying.child.exitCode === null && dying.child.signalCode === null) {
      await new Promise((resolve) => {
        dying.child.once('exit', resolve);
      });
    }
  }
  const survivor = await startWorker({ schema, ...short, defaults: { retention: 'removeAll' } });
  const task = await until(
    () => found(tasks, id),
    ({ state }) => state === 'failed',
  );
  expect(task).toMatchObject({ queue: 'dead', deadFrom: 'default', crashes: 2 });
  expect(task.attempts.map(({ outcome }) => outcome)).toEqual(['crashed', 'crashed']);
  expect(task.attempts.at(-1)).toMatchObject({ error: { name: 'QuarantinedError' } });
  await survivor.close();
});

it('redrives 1,200 dead letters while two processes work them, each once', { timeout: 60_000 }, async () => {
  const schema = freshSchema();
  const workers = await Promise.all([startWorker({ schema }), startWorker({ schema })]);
  const { tasks } = await bootApp([], { schema, workers: false });
  const payloads = Array.from({ length: 1_200 }, (_, n) => ({ n }));
  const ids = (await tasks.enqueueMany('dying', payloads)).map(({ id }) => id);
  await until(
    () => tasks.counts('dead'),
    ({ failed }) => failed === 1_200,
  );
  const sample = await found(tasks, ids[7]);
  expect(sample.attempts).toMatchObject([{ error: { message: 'no 7', cause: { name: 'TypeError', message: 'why' } } }]);
  const dones = doneIn(workers);
  expect(await tasks.redrive('dead')).toBe(1_200);
  await dones.reached(1_200);
  expect(dones.ids.toSorted()).toEqual(ids.toSorted());
  expect(await tasks.counts()).toEqual({ ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 });
});
