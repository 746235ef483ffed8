import { BackgroundTask, type BackgroundTaskHandler, type EnqueueOptions, InvalidOptionsError } from 'nestjs-backie';
import type { DataSource } from 'typeorm';
import { describe, expect, it } from 'vitest';
import { startWorker } from '../../fixtures/worker-process.js';
import { bootApp, freshSchema, liveTasks, next, openDataSource, shared, sql } from '../../support/app.js';
import { deferred, found, hasten, taskOf, until } from '../../support/tasks.js';

const hourMs = 3_600_000;

interface Account {
  readonly id: number;
  readonly change?: string;
}

@BackgroundTask('replacing', {
  unique: { key: ({ id }: Account) => `${id}`, onConflict: 'replace' },
})
class Replacing implements BackgroundTaskHandler<Account> {
  run(): void {}
}

@BackgroundTask('debounced', { unique: { key: ({ id }: Account) => `${id}`, within: hourMs, onConflict: 'debounce' } })
class Debounced implements BackgroundTaskHandler<Account> {
  run(): void {}
}

@BackgroundTask('waiting', { unique: { key: true, scope: 'waiting' } })
class Waiting implements BackgroundTaskHandler<Account> {
  run(): void {}
}

@BackgroundTask('hourly', { unique: { key: ({ id }: Account) => `${id}`, within: hourMs } })
class Hourly implements BackgroundTaskHandler<Account> {
  run(): void {}
}

@BackgroundTask('plain')
class Plain implements BackgroundTaskHandler<Account> {
  run(): void {}
}

const classes = [Replacing, Debounced, Waiting, Hourly, Plain];
const producer = shared(() => bootApp(classes, { workers: false }));
const levels = ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const;

describe('what a class declares', () => {
  it('says what came of each call, and tells of it by its event', async () => {
    const { tasks, events } = producer();
    const told = next(events, 'enqueued', 2);
    const first = await tasks.enqueue(Replacing, { id: 1, change: 'a' });
    expect(first).toEqual({ id: first.id, duplicate: false });
    const second = await tasks.enqueue(Replacing, { id: 1, change: 'b' }, { priority: 3 });
    expect(second).toEqual({ id: first.id, duplicate: true, replaced: true });
    expect(await found(tasks, first.id)).toMatchObject({ payload: { id: 1, change: 'b' }, priority: 3 });
    const ref = { id: first.id, name: 'replacing', queue: 'default' };
    expect(await told).toEqual([
      { ...ref, duplicate: false },
      { ...ref, duplicate: true, replaced: true },
    ]);
  });

  it('makes a debounced task due within milliseconds after the latest call, by the clock of the database', async () => {
    const { tasks } = producer();
    const due = async (id: string) => (await found(tasks, id)).scheduledAt.getTime();
    const { id } = await tasks.enqueue(Debounced, { id: 2 });
    const { createdAt } = await found(tasks, id);
    expect((await due(id)) - createdAt.getTime() - hourMs).toBeLessThan(1_000);
    const before = await due(id);
    await tasks.enqueue(Debounced, { id: 2, change: 'b' });
    expect(await due(id)).toBeGreaterThan(before);
  });

  it('is for the call to change: the key alone, or the rules too', async () => {
    const { tasks } = producer();
    const { id } = await tasks.enqueue(Replacing, { id: 3 });
    expect(await tasks.enqueue(Replacing, { id: 4 }, { uniqueKey: '3' })).toMatchObject({ id, replaced: true });
    expect(await tasks.enqueue(Replacing, { id: 5 }, { unique: { key: '3' } })).toEqual({ id, duplicate: true });
    expect(await found(tasks, id)).toMatchObject({ payload: { id: 4 } });
  });

  it('holds for each payload of enqueueMany, in their order', async () => {
    const { tasks } = producer();
    const payloads = [1, 2, 1, 1].map((id, i) => ({ id: 100 + id, change: `${i}` }));
    const results = await tasks.enqueueMany(Debounced, payloads);
    expect(results.map(({ duplicate, replaced = false }) => [duplicate, replaced])).toEqual([
      [false, false],
      [false, false],
      [true, true],
      [true, true],
    ]);
    expect(await found(tasks, results[3]!.id)).toMatchObject({ payload: { id: 101, change: '3' } });
  });

  it('counts for what a schedule enqueues', async () => {
    const { tasks } = producer();
    await tasks.schedule('hourly-accounts', Hourly, { cron: '@yearly', payload: { id: 200 } });
    const first = await tasks.runNow('hourly-accounts');
    expect(await tasks.runNow('hourly-accounts')).toEqual({ id: first.id, duplicate: true });
    await expect(tasks.schedule('never', Debounced, { cron: '@yearly', payload: { id: 1 } })).rejects.toThrow(
      /onConflict 'debounce' says when the task is due/,
    );
  });
});

it.each<[string, EnqueueOptions]>([
  ['delayMs and debounce', { delayMs: 5, unique: { key: 'k', within: 5, onConflict: 'debounce' } }],
  ['scheduledAt and debounce', { scheduledAt: new Date(), unique: { key: 'k', within: 5, onConflict: 'debounce' } }],
  ['debounce without within', { unique: { key: 'k', onConflict: 'debounce' } }],
  ['a negative window', { unique: { key: 'k', within: -1 } }],
  ['a window and a scope', { unique: { key: 'k', within: 5, scope: 'waiting' } }],
  ['an unknown rule', { unique: { key: 'k', onConflict: 'overwrite' as 'keep' } }],
  ['no key', { unique: {} as { key: string } }],
  ['both forms of key', { uniqueKey: 'k', unique: { key: 'k' } }],
  [
    'an expiry before a debounced task is due',
    { expiresInMs: 5, unique: { key: 'k', within: 5, onConflict: 'debounce' } },
  ],
  ['an expiry before the task is due', { expiresInMs: 1_000, delayMs: 1_000 }],
  ['a negative expiry', { expiresInMs: -1 }],
])('refuses %s, writes nothing and leaves the transaction usable', async (_, options) => {
  const { tasks, schema } = producer();
  const dataSource = await openDataSource();
  const before = await liveTasks(schema);
  await dataSource.transaction(async (manager) => {
    await expect(tasks.enqueue(Plain, { id: 1 }, { ...options, manager })).rejects.toThrow(InvalidOptionsError);
    expect(await manager.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });
  expect(await liveTasks(schema)).toBe(before);
});

describe.each([
  ['while its task lives', {}],
  ['for a window', { within: hourMs }],
])('a unique key that is held %s', (_, terms) => {
  it('does not make the worker wait of a task that starts while the call waits for another one', async () => {
    const gate = deferred();
    const Slow = taskOf('slow', () => gate.promise, { unique: { key: true, onConflict: 'replace', ...terms } });
    const app = await bootApp([Slow]);
    const { tasks, events } = app;
    const dataSource = await openDataSource();
    const { id } = await tasks.enqueue(Slow, 'a', { delayMs: hourMs });
    const blocker = dataSource.createQueryRunner();
    await blocker.startTransaction();
    // Its key comes first in the order of keys.
    await tasks.enqueue(Slow, 'b', { delayMs: hourMs, manager: blocker.manager });
    await dataSource.transaction(async (manager) => {
      const [{ pid }] = await manager.query<[{ pid: number }]>('SELECT pg_backend_pid() AS pid');
      const many = tasks.enqueueMany(Slow, ['b', 'a'], { manager });
      const waits = () => sql(`SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'`, [pid]);
      await until(waits, (rows) => rows.length > 0);
      const started = next(events, 'started');
      await hasten(app, id);
      await started;
      await blocker.commitTransaction();
      await blocker.release();
      expect((await many)[1]).toEqual({ id, duplicate: true });
      const done = next(events, 'done');
      gate.resolve();
      expect(await done).toMatchObject([{ id }]);
    });
  });
});

describe.each(levels)('in a %s transaction', (level) => {
  const dataSource = shared(() => openDataSource());
  /** Ids that no other test uses. */
  const base = 1_000 * (1 + levels.indexOf(level));

  it.each([Replacing, Debounced])('%o replaces what was there before, and not when it is rolled back', async (task) => {
    const { tasks } = producer();
    const id = base + (task === Replacing ? 1 : 2);
    const first = await tasks.enqueue(task, { id, change: 'a' });
    const replace = (change: string, fail = false) =>
      dataSource().transaction(level, async (manager) => {
        const result = await tasks.enqueue(task, { id, change }, { manager });
        expect(result).toEqual({ id: first.id, duplicate: true, replaced: true });
        // A second time in the same transaction.
        await tasks.enqueue(task, { id, change: `${change}!` }, { manager });
        if (fail) throw new Error('rolled back');
      });
    await replace('b');
    expect(await found(tasks, first.id)).toMatchObject({ payload: { change: 'b!' } });
    await expect(replace('c', true)).rejects.toThrow('rolled back');
    expect(await found(tasks, first.id)).toMatchObject({ payload: { change: 'b!' } });
  });

  it.each([Replacing, Debounced, Waiting, Hourly])('%o stores one task with the transaction, or none', async (task) => {
    const { tasks } = producer();
    const id = base + 10 + classes.indexOf(task);
    const enqueueTwice = (fail: boolean) =>
      dataSource().transaction(level, async (manager) => {
        const first = await tasks.enqueue(task, { id }, { manager });
        expect(first.duplicate).toBe(false);
        expect(await tasks.enqueue(task, { id }, { manager })).toMatchObject({ id: first.id, duplicate: true });
        if (fail) throw new Error('rolled back');
        return first.id;
      });
    await expect(enqueueTwice(true)).rejects.toThrow('rolled back');
    const stored = await enqueueTwice(false);
    expect(await tasks.enqueue(task, { id })).toMatchObject({ id: stored, duplicate: true });
  });

  it.each([Waiting, Hourly])(
    '%o is a duplicate of one that was committed since the transaction began',
    async (task) => {
      const { tasks } = producer();
      const id = base + 20 + classes.indexOf(task);
      await dataSource().transaction(level, async (manager) => {
        await manager.query('SELECT 1');
        const holder = await tasks.enqueue(task, { id });
        expect(await tasks.enqueue(task, { id }, { manager })).toEqual({ id: holder.id, duplicate: true });
        expect((await tasks.enqueue(Plain, { id }, { manager })).duplicate).toBe(false);
      });
    },
  );

  it.each([Replacing, Debounced])(
    '%o replaces one that was committed since the transaction began, or fails as PostgreSQL does',
    async (task) => {
      const { tasks } = producer();
      const id = base + 30 + classes.indexOf(task);
      await dataSource().transaction(level, async (manager) => {
        await manager.query('SELECT 1');
        const holder = await tasks.enqueue(task, { id });
        const replaced = tasks.enqueue(task, { id, change: 'b' }, { manager });
        if (level === 'READ COMMITTED') expect(await replaced).toMatchObject({ id: holder.id, replaced: true });
        else await expect(replaced).rejects.toMatchObject({ driverError: { code: '40001' } });
        expect((await tasks.enqueue(Plain, { id }, { manager })).duplicate).toBe(false);
      });
    },
  );

  it('does not make the worker of a task wait that it would have replaced', async () => {
    const gate = deferred();
    const Slow = taskOf('slow', () => gate.promise);
    const { tasks, events } = await bootApp([Slow]);
    const unique = { key: 'k', onConflict: 'replace' } as const;
    const started = next(events, 'started');
    const { id } = await tasks.enqueue(Slow, 1, { unique });
    await started;
    await dataSource().transaction(level, async (manager) => {
      await manager.query('SELECT 1');
      expect(await tasks.enqueue(Slow, 2, { unique, manager })).toEqual({ id, duplicate: true });
      const done = next(events, 'done');
      gate.resolve();
      expect(await done).toMatchObject([{ id }]);
    });
  });

  it('takes the key of a task that has expired, though nobody has ended it', async () => {
    const { tasks, schema } = producer();
    const id = base + 40;
    for (const task of [Replacing, Waiting]) {
      const old = await tasks.enqueue(task, { id }, { expiresInMs: hourMs });
      await dataSource().transaction(level, async (manager) => {
        await manager.query('SELECT 1');
        await sql(`UPDATE "${schema}".task SET expires_at = now() - interval '1 s' WHERE id = $1`, [old.id]);
        const fresh = await tasks.enqueue(task, { id }, { manager });
        expect(fresh.duplicate).toBe(false);
        expect(fresh.id).not.toBe(old.id);
      });
    }
  });
});

describe('an enqueue that meets another transaction with its key', () => {
  /** Ends `ending` once `waiting` waits for it. */
  async function meet<Result>(waiting: (dataSource: DataSource) => Promise<Result>, ending: () => Promise<unknown>) {
    const applicationName = `waits ${freshSchema()}`.slice(0, 60);
    const result = waiting(await openDataSource({ applicationName }));
    const locked = () =>
      sql(`SELECT FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'`, [applicationName]);
    await until(locked, (rows) => rows.length > 0);
    await ending();
    return result;
  }

  it.each([Waiting, Hourly, Replacing, Debounced])('is its duplicate after the commit: %o', async (task) => {
    const { tasks } = producer();
    const first = (await openDataSource()).createQueryRunner();
    await first.startTransaction();
    const payload = { id: 50 + classes.indexOf(task) };
    const { id } = await tasks.enqueue(task, payload, { manager: first.manager });
    const met = meet(
      (dataSource) => dataSource.transaction((manager) => tasks.enqueue(task, payload, { manager })),
      () => first.commitTransaction(),
    );
    const replaced = task === Replacing || task === Debounced;
    expect(await met).toEqual({ id, duplicate: true, ...(replaced && { replaced }) });
    await first.release();
  });

  it.each([Waiting, Hourly, Replacing, Debounced])('takes its place after the rollback: %o', async (task) => {
    const { tasks } = producer();
    const first = (await openDataSource()).createQueryRunner();
    await first.startTransaction();
    const payload = { id: 60 + classes.indexOf(task) };
    const { id } = await tasks.enqueue(task, payload, { manager: first.manager });
    const met = await meet(
      (dataSource) => dataSource.transaction((manager) => tasks.enqueue(task, payload, { manager })),
      () => first.rollbackTransaction(),
    );
    expect(met.duplicate).toBe(false);
    expect(met.id).not.toBe(id);
    await first.release();
  });

  it.each([Replacing, Debounced])('replaces no task that is just being claimed: %o', async (task) => {
    const { tasks, schema } = producer();
    const payload = { id: 70 + classes.indexOf(task) };
    const { id } = await tasks.enqueue(task, payload);
    const claim = (await openDataSource()).createQueryRunner();
    await claim.startTransaction();
    await claim.query(
      `UPDATE "${schema}".task SET worker_id = gen_random_uuid(), claim_seq = 1, attempt = 1, started_at = now()
       WHERE id = $1`,
      [id],
    );
    const late = { ...payload, change: 'late' };
    const met = await meet(
      (dataSource) => dataSource.transaction((manager) => tasks.enqueue(task, late, { manager })),
      () => claim.commitTransaction(),
    );
    await claim.release();
    expect((await found(tasks, id)).payload).toEqual(payload);
    // A debounced one has given its key up by that, so this is a task of its own.
    if (task === Replacing) expect(met).toEqual({ id, duplicate: true });
    else expect(met.duplicate).toBe(false);
  });
});

describe('producers in two processes', () => {
  it.each<[string, NonNullable<EnqueueOptions['unique']>]>([
    ['while it lives', { key: 'k' }],
    ['while it waits', { key: 'k', scope: 'waiting' }],
    ['for a window', { key: 'k', within: hourMs }],
    ['while it lives, and replace', { key: 'k', onConflict: 'replace' }],
    ['for a window, and replace', { key: 'k', within: hourMs, onConflict: 'replace' }],
  ])('store one task of a key that is held %s', async (_, unique) => {
    const schema = freshSchema();
    const { tasks } = await bootApp([], { schema, workers: false });
    await tasks.pause('default');
    const workers = await Promise.all([startWorker({ schema }), startWorker({ schema })]);
    const payloads = Array.from({ length: 100 }, (_, i) => i);
    const results = await Promise.all(workers.map((worker) => worker.enqueueAll('noting', payloads, { unique })));
    const all = results.flat();
    expect(all).toHaveLength(200);
    expect(new Set(all.map(({ id }) => id)).size).toBe(1);
    expect(all.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
    expect(all.filter(({ replaced }) => replaced)).toHaveLength(unique.onConflict === 'replace' ? 199 : 0);
    expect(await liveTasks(schema)).toBe(1);
  });

  it('debounce 200 calls into one run, with the payload of the last', async () => {
    const schema = freshSchema();
    const observer = await bootApp([], { schema, workers: false });
    const workers = await Promise.all([startWorker({ schema }), startWorker({ schema })]);
    const runs: unknown[] = [];
    for (const worker of workers) worker.messages('noted').subscribe((message) => runs.push(message));
    const unique = { key: 'k', within: hourMs, onConflict: 'debounce' } as const;
    const results = await Promise.all(
      workers.map((worker, process) => {
        const payloads = Array.from({ length: 99 }, (_, i) => ({ process, i }));
        return worker.enqueueAll('noting', payloads, { unique });
      }),
    );
    const last = await workers[0]!.enqueueAll('noting', ['last'], { unique });
    const [{ id }] = last;
    expect(new Set(results.flat().map((result) => result.id))).toEqual(new Set([id]));
    expect(runs).toEqual([]);

    const noted = Promise.race(workers.map((worker) => worker.next('noted')));
    await hasten(observer, id);
    expect(await noted).toEqual([{ kind: 'noted', id, payload: 'last' }]);
    // Whatever else there was would be run before this one, or beside it.
    const sentinel = Promise.race(workers.map((worker) => worker.next('noted')));
    await observer.tasks.enqueue('noting', 'sentinel');
    await sentinel;
    expect(runs).toHaveLength(2);
    await until(
      () => liveTasks(schema),
      (count) => count === 0,
    );
  });

  it('run a task beside one of the same key that runs, when the key is held while it waits', async () => {
    const schema = freshSchema();
    const { tasks } = await bootApp([], { schema, workers: false });
    const workers = await Promise.all(
      [0, 1].map(() => startWorker({ schema, queues: [{ name: 'default', concurrency: 1 }] })),
    );
    const unique = { key: 'k', scope: 'waiting' } as const;
    const ids: string[] = [];
    const starts: { id: string; worker: number }[] = [];
    for (const [worker, process] of workers.entries()) {
      process.messages('started').subscribe((message) => starts.push({ id: (message as { id: string }).id, worker }));
    }
    for (let i = 0; i < 2; i++) {
      const started = Promise.race(workers.map((worker) => worker.next('started')));
      const { id, duplicate } = await tasks.enqueue('hanging', i, { unique });
      expect(duplicate).toBe(false);
      ids.push(id);
      await started;
    }
    expect(starts.map(({ id }) => id)).toEqual(ids);
    expect(new Set(starts.map(({ worker }) => worker)).size).toBe(2);
    // Both slots are taken: this one waits, and the next is its duplicate.
    const third = await tasks.enqueue('hanging', 3, { unique });
    expect(third.duplicate).toBe(false);
    expect(await tasks.enqueue('hanging', 4, { unique })).toEqual({ id: third.id, duplicate: true });
  });
});

it('runs a debounced task once it has been quiet for long enough', async () => {
  const ran: { payload: unknown; at: number }[] = [];
  const Noting = taskOf('noting', (payload) => void ran.push({ payload, at: performance.now() }));
  const { tasks, events } = await bootApp([Noting]);
  const done = next(events, 'done');
  let latest = 0;
  for (let i = 0; i < 5; i++) {
    latest = performance.now();
    await tasks.enqueue(Noting, i, { unique: { key: 'k', within: 400, onConflict: 'debounce' } });
  }
  await done;
  expect(ran.map(({ payload }) => payload)).toEqual([4]);
  expect(ran[0]!.at - latest).toBeGreaterThanOrEqual(399);
});
