import { randomUUID } from 'node:crypto';
import { InvalidOptionsError, type Task, TaskStore, UniqueKeyTakenError } from 'nestjs-backie';
import { describe, expect, it, vi } from 'vitest';
import { bootApp, next, sql, type TestApp } from '../../support/app.js';
import { deferred, found, taskOf } from '../../support/tasks.js';

const fails = (): never => {
  throw new Error('not today');
};

/** Resolves once the application has looked this often for tasks of the queue, from now on. */
function claims({ app }: TestApp, queue: string, count: number): Promise<void> {
  const store = app.get(TaskStore);
  const enough = deferred();
  const claim = store.claim.bind(store);
  let left = count;
  vi.spyOn(store, 'claim').mockImplementation(async (request) => {
    const claimed = await claim(request);
    if (request.queue === queue && --left === 0) enough.resolve();
    return claimed;
  });
  return enough.promise;
}

describe('retry', () => {
  it('puts a failed task back with all its retries, and its attempts go on counting', async () => {
    let broken = true;
    const Work = taskOf('work', () => broken && fails(), { maxRetries: 1, backoff: { kind: 'none' } });
    const { tasks, events } = await bootApp([Work], { defaults: { retention: 'keepAll' } });
    const failed = next(events, 'failed', 2);
    const failedOnce = next(events, 'failed');
    const { id } = await tasks.enqueue(Work);
    await failedOnce;
    expect(await tasks.retry(id)).toBe(true);
    expect(await failed).toMatchObject([{ attempt: 2 }, { attempt: 4 }]);
    broken = false;
    const done = next(events, 'done');
    expect(await tasks.retry(id)).toBe(true);
    expect(await done).toMatchObject([{ id, attempt: 5 }]);
    const task = await found(tasks, id);
    expect(task).toMatchObject({ state: 'done', retries: 0, claimSeq: 5 });
    expect(task.attempts.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5]);
  });

  it('puts a cancelled task back', async () => {
    const Work = taskOf('work', () => {});
    const { tasks, events } = await bootApp([Work]);
    const { id } = await tasks.enqueue(Work, null, { delayMs: 60_000 });
    await tasks.cancel(id);
    const done = next(events, 'done');
    expect(await tasks.retry(id)).toBe(true);
    expect(await done).toMatchObject([{ id, attempt: 1 }]);
  });

  it('wakes the workers of other applications', async () => {
    const Work = taskOf('work', (_payload, { attempt }) => attempt === 1 && fails(), { maxRetries: 0 });
    const worker = await bootApp([Work], { defaults: { pollIntervalMs: 60_000 } });
    const other = await bootApp([], { schema: worker.schema, workers: false });
    const failed = next(worker.events, 'failed');
    const { id } = await other.tasks.enqueue('work');
    await failed;
    const done = next(worker.events, 'done');
    expect(await other.tasks.retry(id)).toBe(true);
    expect(await done).toMatchObject([{ id, attempt: 2 }]);
  });

  it('says false of ready, running, done and unknown tasks, and leaves them as they are', async () => {
    const running = deferred();
    const Work = taskOf('work', (wait: boolean) => (wait ? running.promise : undefined));
    const { tasks, events } = await bootApp([Work], { defaults: { retention: 'keepAll' } });
    const done = next(events, 'done');
    const started = next(events, 'started', 2);
    const ready = await tasks.enqueue(Work, true, { delayMs: 60_000 });
    const [busy, finished] = await tasks.enqueueMany(Work, [true, false]);
    await started;
    await done;
    for (const [{ id }, state] of [
      [ready, 'ready'],
      [busy, 'running'],
      [finished, 'done'],
    ] as const) {
      expect(await tasks.retry(id)).toBe(false);
      expect(await found(tasks, id)).toMatchObject({ state });
    }
    expect(await tasks.retry(randomUUID())).toBe(false);
    expect(await tasks.retry('no id')).toBe(false);
    running.resolve();
  });

  it('refuses while a live task holds the unique key, and names that task', async () => {
    const Work = taskOf('work', fails, { maxRetries: 0 });
    const { tasks, events } = await bootApp([Work]);
    const failed = next(events, 'failed');
    const { id } = await tasks.enqueue(Work, null, { uniqueKey: 'k' });
    await failed;
    const holder = await tasks.enqueue(Work, null, { uniqueKey: 'k', delayMs: 60_000 });
    const refused = tasks.retry(id);
    await expect(refused).rejects.toThrow(UniqueKeyTakenError);
    await expect(refused).rejects.toThrow(holder.id);
    expect(await found(tasks, id)).toMatchObject({ state: 'failed' });
    await tasks.remove(holder.id);
    expect(await tasks.retry(id)).toBe(true);
  });
});

describe('remove', () => {
  it('deletes ready and kept tasks, and nothing that runs', async () => {
    const running = deferred();
    const Work = taskOf('work', (how: string) => (how === 'wait' ? running.promise : fails()), { maxRetries: 0 });
    const { tasks, events } = await bootApp([Work]);
    const failed = next(events, 'failed');
    const started = next(events, 'started', 2);
    const ready = await tasks.enqueue(Work, 'wait', { delayMs: 60_000, uniqueKey: 'k' });
    const [busy, kept] = await tasks.enqueueMany(Work, ['wait', 'fail']);
    await started;
    await failed;
    expect(await tasks.remove(ready.id)).toBe(true);
    expect(await tasks.remove(kept.id)).toBe(true);
    expect(await tasks.remove(busy.id)).toBe(false);
    expect(await tasks.find(ready.id)).toBeNull();
    expect(await tasks.find(kept.id)).toBeNull();
    expect(await found(tasks, busy.id)).toMatchObject({ state: 'running' });
    expect(await tasks.remove(ready.id)).toBe(false);
    expect(await tasks.remove('no id')).toBe(false);
    // Its unique key is free again.
    expect(await tasks.enqueue(Work, 'wait', { uniqueKey: 'k' })).toMatchObject({ duplicate: false });
    running.resolve();
  });
});

describe('pause', () => {
  it('lets no application start tasks of the queue, until one resumes it', async () => {
    const Work = taskOf('work', () => {}, { queue: 'mail' });
    const queues = [{ name: 'mail', pollIntervalMs: 10 }];
    const one = await bootApp([Work], { queues });
    const two = await bootApp([Work], { queues, schema: one.schema });
    await one.tasks.pause('mail');
    await one.tasks.pause('mail');
    expect(await two.tasks.pausedQueues()).toEqual(['mail']);
    const { id } = await one.tasks.enqueue(Work);
    await Promise.all([claims(one, 'mail', 3), claims(two, 'mail', 3)]);
    expect(await found(two.tasks, id)).toMatchObject({ state: 'ready', claimSeq: 0 });

    const done = Promise.race([next(one.events, 'done'), next(two.events, 'done')]);
    await two.tasks.resume('mail');
    expect(await done).toMatchObject([{ id }]);
    expect(await one.tasks.pausedQueues()).toEqual([]);
  });

  it('lets the other queues and what already runs go on', async () => {
    const running = deferred();
    const Mail = taskOf('mail', () => running.promise, { queue: 'mail' });
    const Work = taskOf('work', () => {});
    const { tasks, events } = await bootApp([Mail, Work], { queues: [{ name: 'mail' }] });
    const started = next(events, 'started');
    const { id } = await tasks.enqueue(Mail);
    await started;
    await tasks.pause('mail');
    const other = next(events, 'done');
    await tasks.enqueue(Work);
    expect(await other).toMatchObject([{ name: 'work' }]);
    const done = next(events, 'done');
    running.resolve();
    expect(await done).toMatchObject([{ id }]);
  });

  it('outlives a restart', async () => {
    const Work = taskOf('work', () => {});
    const options = { defaults: { pollIntervalMs: 10 } };
    const before = await bootApp([Work], options);
    await before.tasks.pause('default');
    const { id } = await before.tasks.enqueue(Work);
    await before.app.close();
    const after = await bootApp([Work], { ...options, schema: before.schema });
    await claims(after, 'default', 3);
    expect(await found(after.tasks, id)).toMatchObject({ state: 'ready' });
    const done = next(after.events, 'done');
    await after.tasks.resume('default');
    await done;
  });

  it('wakes the workers of other applications when it ends', async () => {
    const Work = taskOf('work', () => {});
    const worker = await bootApp([Work], { defaults: { pollIntervalMs: 60_000 } });
    const other = await bootApp([], { schema: worker.schema, workers: false });
    await other.tasks.pause('default');
    const claimed = claims(worker, 'default', 1);
    await other.tasks.enqueue('work');
    await claimed;
    const done = next(worker.events, 'done');
    await other.tasks.resume('default');
    await done;
  });

  it('of a bad name is refused', async () => {
    const { tasks } = await bootApp([], { workers: false });
    await expect(tasks.pause('')).rejects.toThrow(InvalidOptionsError);
    await expect(tasks.resume('a\0b')).rejects.toThrow(InvalidOptionsError);
  });
});

describe('list and counts', () => {
  /** Two queues, two names, every state. */
  async function bootFilled() {
    const running = deferred();
    const run = (how: string) => (how === 'hang' ? running.promise : how === 'fail' ? fails() : undefined);
    const A = taskOf('a', run, { queue: 'left', maxRetries: 0 });
    const B = taskOf('b', run, { queue: 'right', maxRetries: 0 });
    const retention = 'keepAll';
    const booted = await bootApp([A, B], {
      queues: [
        { name: 'left', retention },
        { name: 'right', retention },
      ],
    });
    const { tasks, events } = booted;
    const ended = Promise.all([next(events, 'started', 6), next(events, 'done', 2), next(events, 'failed', 2)]);
    for (const Work of [A, B]) await tasks.enqueueMany(Work, ['return', 'fail', 'hang']);
    await ended;
    await tasks.enqueue(A, 'return', { delayMs: 60_000, uniqueKey: 'only' });
    const { id } = await tasks.enqueue(B, 'return', { delayMs: 60_000 });
    await tasks.cancel(id);
    return { ...booted, release: () => running.resolve() };
  }
  const shown = (tasks: readonly Task[]) =>
    tasks.map(({ queue, name, state }) => `${queue} ${name} ${state}`).toSorted();

  it('filters by queue, name, states and unique key', async () => {
    const { tasks, release } = await bootFilled();
    const list = async (filter: Parameters<typeof tasks.list>[0]) => shown((await tasks.list(filter)).tasks);
    const left = ['left a done', 'left a failed', 'left a ready', 'left a running'];
    const right = ['right b cancelled', 'right b done', 'right b failed', 'right b running'];
    expect(await list({})).toEqual([...left, ...right]);
    expect(await list({ queue: 'left' })).toEqual(left);
    expect(await list({ name: 'b' })).toEqual(right);
    expect(await list({ state: 'failed' })).toEqual(['left a failed', 'right b failed']);
    expect(await list({ state: ['ready', 'cancelled'] })).toEqual(['left a ready', 'right b cancelled']);
    expect(await list({ uniqueKey: 'only' })).toEqual(['left a ready']);
    expect(await list({ queue: 'left', name: 'b' })).toEqual([]);
    expect(await list({ queue: 'right', name: 'b', state: 'running' })).toEqual(['right b running']);
    release();
  });

  it('counts each state, of one queue or of all', async () => {
    const { tasks, release } = await bootFilled();
    expect(await tasks.counts('left')).toEqual({ ready: 1, running: 1, done: 1, failed: 1, cancelled: 0 });
    expect(await tasks.counts('right')).toEqual({ ready: 0, running: 1, done: 1, failed: 1, cancelled: 1 });
    expect(await tasks.counts()).toEqual({ ready: 1, running: 2, done: 2, failed: 2, cancelled: 1 });
    expect(await tasks.counts('none such')).toEqual({ ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 });
    release();
  });

  it.each(['newestFirst', 'oldestFirst'] as const)(
    'gives every task on exactly one page, %s, though tasks move and come between the pages',
    async (order) => {
      const { tasks, schema } = await bootApp([], { workers: false });
      const ids = (await tasks.enqueueMany('work', Array.from({ length: 25 }))).map(({ id }) => id).toSorted();
      const expected = order === 'newestFirst' ? ids.toReversed() : ids;
      const seen: string[] = [];
      let after: string | undefined;
      const sizes: number[] = [];
      do {
        const page = await tasks.list({ name: 'work' }, { limit: 10, order, after });
        sizes.push(page.tasks.length);
        seen.push(...page.tasks.map(({ id }) => id));
        // One of each page moves to the finished tasks, one of the next goes away, and newer ones arrive elsewhere.
        await tasks.cancel(page.tasks[0].id);
        await tasks.enqueue('other');
        after = page.next ?? undefined;
      } while (after !== undefined);
      expect(seen).toEqual(expected);
      expect(sizes).toEqual([10, 10, 5]);
      expect((await tasks.list({}, { limit: 1_000 })).next).toBeNull();
      // Exactly one page full is the last page.
      await sql(`DELETE FROM "${schema}"."task" WHERE "name" = 'work'`);
      expect(await tasks.list({ name: 'work' }, { limit: 3 })).toMatchObject({ next: null });
    },
  );

  it('refuses unknown filters, bad limits and foreign cursors', async () => {
    const { tasks } = await bootApp([], { workers: false });
    for (const page of [{ limit: 0 }, { limit: 1_001 }, { limit: 1.5 }, { after: 'no cursor' }]) {
      await expect(tasks.list({}, page), JSON.stringify(page)).rejects.toThrow(InvalidOptionsError);
    }
    await expect(tasks.list({ stat: 'ready' } as object)).rejects.toThrow('"state"');
    await expect(tasks.list({ state: 'finished' as never })).rejects.toThrow(InvalidOptionsError);
  });
});
