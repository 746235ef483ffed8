import { InvalidOptionsError } from 'nestjs-backie';
import { expect, it } from 'vitest';
import { doneIn, startWorker } from '../../fixtures/worker-process.js';
import { bootApp, freshSchema, next } from '../../support/app.js';
import { sentStatements } from '../../support/sent-statements.js';
import { forever, found, taskOf, until } from '../../support/tasks.js';

const none = { ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 };

it('cancels what a filter names, ready and running, and tells of each', async () => {
  const Hanging = taskOf('hanging', forever);
  const { tasks, events } = await bootApp([Hanging], {
    shutdownGraceMs: 0,
    queues: [{ name: 'default', concurrency: 2 }],
  });
  const started = next(events, 'started', 2);
  await tasks.enqueueMany(Hanging, Array.from({ length: 5 }));
  const other = await tasks.enqueue('other', null, { queue: 'side' });
  await started;
  const cancelled = next(events, 'cancelled', 5);
  expect(await tasks.cancelMany({ queue: 'default' })).toBe(5);
  expect((await cancelled).every(({ name }) => name === 'hanging')).toBe(true);
  expect(await tasks.counts('default')).toEqual({ ...none, cancelled: 5 });
  expect(await found(tasks, other.id)).toMatchObject({ state: 'ready' });
  expect(await tasks.cancelMany({ state: 'running' })).toBe(0);
  expect(await tasks.cancelMany({})).toBe(1);
  expect(await tasks.cancelMany({})).toBe(0);
});

it('leaves alone what was enqueued after a time', async () => {
  const { tasks } = await bootApp([], { workers: false });
  const early = await tasks.enqueue('work');
  const { createdAt } = await found(tasks, early.id);
  const before = new Date(createdAt.getTime() + 1);
  await until(
    async () => found(tasks, (await tasks.enqueue('work')).id),
    (task) => task.createdAt >= before,
  );
  const { ready } = await tasks.counts();
  expect(await tasks.removeMany({ before: createdAt })).toBe(0);
  const removed = await tasks.removeMany({ before });
  expect(removed).toBeGreaterThan(0);
  expect(removed).toBeLessThan(ready);
  expect(await tasks.find(early.id)).toBeNull();
});

it('looks for what it removes only where tasks of the asked states are', async () => {
  const statements = sentStatements();
  const { tasks } = await bootApp([], { workers: false });
  const picks = async (filter: Parameters<typeof tasks.removeMany>[0]) => {
    statements.reset();
    await tasks.removeMany(filter);
    return Object.keys(statements.counts()).filter((name) => name.startsWith('backie_pick'));
  };
  expect(await picks({ state: ['ready'] })).toEqual(['backie_pickLive']);
  expect(await picks({ state: ['failed', 'done'] })).toEqual(['backie_pickFinished']);
  expect(await picks({ state: ['ready', 'cancelled'] })).toEqual(['backie_pickLive', 'backie_pickFinished']);
  expect(await picks({})).toEqual(['backie_pickLive', 'backie_pickFinished']);
});

it('retries what has failed or was cancelled, but no dead letters', async () => {
  const fail = (_: unknown, { attempt }: { attempt: number }) => {
    if (attempt === 1) throw new Error('no');
  };
  const One = taskOf('one', fail, { maxRetries: 0 });
  const Dead = taskOf('dead', fail, { maxRetries: 0, deadLetter: 'dead' });
  const { tasks, events } = await bootApp([One, Dead]);
  const failed = next(events, 'failed', 2);
  const [one, dead] = [await tasks.enqueue(One), await tasks.enqueue(Dead)];
  await failed;
  const cancelled = await tasks.enqueue(One, null, { delayMs: 60_000 });
  await tasks.cancel(cancelled.id);
  expect(await tasks.retryMany({ queue: 'dead' })).toBe(0);
  const done = next(events, 'done', 1, ({ id }) => id === one.id);
  expect(await tasks.retryMany({})).toBe(2);
  expect(await done).toMatchObject([{ id: one.id, attempt: 2 }]);
  expect(await found(tasks, dead.id)).toMatchObject({ state: 'failed', queue: 'dead' });
  expect(await tasks.removeMany({ queue: 'dead', state: 'failed' })).toBe(1);
});

it('refuses a missing filter and bad ones before anything changes', async () => {
  const { tasks } = await bootApp([], { workers: false });
  await tasks.enqueue('work');
  const bad: [keyof typeof tasks, unknown, string][] = [
    ['cancelMany', undefined, 'Pass {} for all tasks'],
    ['cancelMany', null, 'must be an object'],
    ['cancelMany', { queu: 'default' }, 'Did you mean "queue"?'],
    ['cancelMany', { state: 'done' }, 'one of "ready", "running"'],
    ['cancelMany', { queue: '' }, 'queue must be'],
    ['retryMany', { state: ['failed', 'ready'] }, 'one of "failed", "cancelled"'],
    ['removeMany', { state: 'running' }, 'one of "ready", "done", "failed", "cancelled"'],
    ['removeMany', { before: new Date(Number.NaN) }, 'a valid Date'],
    ['removeMany', 'default', 'must be an object'],
    ['removeMany', { queue: undefined, name: 'work' }, 'queue is undefined'],
    ['cancelMany', { before: undefined }, 'before is undefined'],
  ];
  for (const [method, filter, message] of bad) {
    const refused = (tasks[method] as (filter: unknown) => Promise<number>).call(tasks, filter);
    await expect(refused).rejects.toThrow(InvalidOptionsError);
    await expect(refused).rejects.toThrow(message);
  }
  expect(await tasks.counts()).toEqual({ ...none, ready: 1 });
});

it(
  'cancels 5,000 tasks while two processes work: nothing is lost, and the count is exact',
  { timeout: 60_000 },
  async () => {
    const schema = freshSchema();
    const { tasks } = await bootApp([], { schema, workers: false });
    await tasks.pause('default');
    const queue = { name: 'default', concurrency: 5 };
    const workers = await Promise.all([
      startWorker({ schema, queues: [queue] }),
      startWorker({ schema, queues: [queue] }),
    ]);
    const done = doneIn(workers);
    const ids: string[] = [];
    for (let part = 0; part < 5; part++) {
      ids.push(...(await tasks.enqueueMany('quick', Array.from({ length: 1_000 }))).map(({ id }) => id));
    }
    await tasks.resume('default');
    await done.reached(51);
    const count = await tasks.cancelMany({ queue: 'default' });
    const counts = await until(
      () => tasks.counts(),
      ({ ready, running }) => ready + running === 0,
    );
    await done.reached(5_000 - counts.cancelled);
    await Promise.all(workers.map((worker) => worker.close()));
    // One that was asked to end may have been done by then: it counts as asked, and ends as done.
    expect(counts.cancelled).toBeLessThanOrEqual(count);
    expect(done.ids.length + counts.cancelled).toBe(5_000);
    const cancelled: string[] = [];
    for (let after: string | undefined, more = true; more;) {
      const page = await tasks.list({ state: 'cancelled' }, { limit: 1_000, after });
      cancelled.push(...page.tasks.map(({ id }) => id));
      after = page.next ?? undefined;
      more = page.next !== null;
    }
    expect([...done.ids, ...cancelled].toSorted()).toEqual(ids.toSorted());
  },
);

it('retries and removes 5,000 tasks while two processes work, each once', { timeout: 60_000 }, async () => {
  const schema = freshSchema();
  const { tasks } = await bootApp([], { schema, workers: false });
  const ids: string[] = [];
  for (let part = 0; part < 5; part++) {
    ids.push(...(await tasks.enqueueMany('quick', Array.from({ length: 1_000 }))).map(({ id }) => id));
  }
  expect(await tasks.cancelMany({ name: 'quick' })).toBe(5_000);
  const defaults = { retention: 'keepAll' as const };
  const workers = await Promise.all([startWorker({ schema, defaults }), startWorker({ schema, defaults })]);
  const done = doneIn(workers);
  const asked = await Promise.all([tasks.retryMany({ name: 'quick' }), tasks.retryMany({ name: 'quick' })]);
  expect(asked[0] + asked[1]).toBe(5_000);
  await done.reached(5_000);
  expect(done.ids.toSorted()).toEqual(ids.toSorted());
  const removed = await Promise.all([tasks.removeMany({ state: 'done' }), tasks.removeMany({ state: 'done' })]);
  expect(removed[0] + removed[1]).toBe(5_000);
  expect(await tasks.counts()).toEqual(none);
});
