import { BackgroundTask, type BackgroundTaskHandler, type TaskEventMap } from 'nestjs-backie';
import type { EntityManager } from 'typeorm';
import { describe, expect, it, onTestFinished } from 'vitest';
import { bootApp, liveTasks, next, openDataSource, shared, sql, type TestApp } from '../../support/app.js';

@BackgroundTask('work')
class Work implements BackgroundTaskHandler<string> {
  readonly done: string[] = [];

  run(payload: string): void {
    this.done.push(payload);
  }
}

@BackgroundTask('unique-work', { unique: true })
class UniqueWork implements BackgroundTaskHandler<string> {
  run(): void {}
}

const dataSource = shared(() => openDataSource());

/** Everything that TaskEvents.enqueued says from now on, until the test has finished. */
function enqueuedEvents({ events }: TestApp): TaskEventMap['enqueued'][] {
  const seen: TaskEventMap['enqueued'][] = [];
  const subscription = events.enqueued.subscribe((event) => seen.push(event));
  onTestFinished(() => subscription.unsubscribe());
  return seen;
}

const inTime = { delayMs: 60_000, expiresInMs: 3_600_000 };

class Rollback extends Error {}

/** A transaction that is rolled back after `work`. */
async function rolledBack(
  manager: { transaction: EntityManager['transaction'] },
  work: (manager: EntityManager) => Promise<unknown>,
) {
  const transaction = manager.transaction(async (inner) => {
    await work(inner);
    throw new Rollback();
  });
  await expect(transaction).rejects.toThrow(Rollback);
}

describe("a task enqueued in the caller's transaction", () => {
  const producer = shared(() => bootApp([Work, UniqueWork], { workers: false }));
  const stored = async () => {
    const { tasks } = await producer().tasks.list({}, { order: 'oldestFirst', limit: 1_000 });
    await sql(`TRUNCATE "${producer().schema}".task`);
    return tasks.map(({ payload }) => payload);
  };

  it('commits with it', async () => {
    const { tasks, schema } = producer();
    await dataSource().transaction(async (manager) => {
      await tasks.enqueue(Work, 'one', { manager });
      await tasks.enqueueMany(Work, ['two', 'three'], { manager });
      expect(await liveTasks(schema)).toBe(0);
      expect(await manager.query(`SELECT count(*)::int AS count FROM "${schema}".task`)).toEqual([{ count: 3 }]);
    });
    expect(await stored()).toEqual(['one', 'two', 'three']);
  });

  it.each<[string, (tasks: TestApp['tasks'], manager: EntityManager) => Promise<unknown>]>([
    ['one', (tasks, manager) => tasks.enqueue(Work, 'one', { manager, ...inTime })],
    ['many', (tasks, manager) => tasks.enqueueMany(Work, ['one', 'two'], { manager, ...inTime })],
    ['a unique one', (tasks, manager) => tasks.enqueue(UniqueWork, 'one', { manager, ...inTime })],
    [
      'one that replaces',
      (tasks, manager) =>
        tasks.enqueue(UniqueWork, 'one', { manager, ...inTime, unique: { key: 'one', onConflict: 'replace' } }),
    ],
  ])('counts its times from the enqueue, and not from the begin of the transaction: %s', async (_, enqueue) => {
    const { tasks, schema } = producer();
    await dataSource().transaction(async (manager) => {
      const [{ before }] = await manager.query<[{ before: string }]>('SELECT clock_timestamp()::text AS before');
      await enqueue(tasks, manager);
      const [late] = await manager.query<unknown[]>(
        `SELECT bool_and(created_at > $1) AS created, bool_and(scheduled_at > $1::timestamptz + interval '1 min') AS due,
           bool_and(expires_at > $1::timestamptz + interval '1 h') AS expires FROM "${schema}".task`,
        [before],
      );
      expect(late).toEqual({ created: true, due: true, expires: true });
    });
    await stored();
  });

  it('rolls back with it', async () => {
    const { tasks } = producer();
    await rolledBack(dataSource().manager, async (manager) => {
      await tasks.enqueue(Work, 'one', { manager });
      await tasks.enqueueMany(Work, ['two'], { manager });
      await tasks.enqueue(UniqueWork, 'three', { manager });
    });
    expect(await stored()).toEqual([]);
  });

  it('rolls back with the savepoint around it, and commits without it', async () => {
    const app = producer();
    const seen = enqueuedEvents(app);
    await dataSource().transaction(async (outer) => {
      await app.tasks.enqueue(Work, 'outer', { manager: outer });
      await rolledBack(outer, async (inner) => {
        await app.tasks.enqueue(Work, 'inner, rolled back', { manager: inner });
        await inner.transaction((innermost) => app.tasks.enqueue(Work, 'innermost, released', { manager: innermost }));
      });
      await outer.transaction((inner) => app.tasks.enqueue(Work, 'inner', { manager: inner }));
      await app.tasks.enqueue(Work, 'outer again', { manager: outer });
      expect(seen).toEqual([]);
    });
    expect(await stored()).toEqual(['outer', 'inner', 'outer again']);
    expect(seen).toHaveLength(3);
  });

  it('rolls back with the transaction around its savepoint', async () => {
    const app = producer();
    const seen = enqueuedEvents(app);
    await rolledBack(dataSource().manager, async (outer) => {
      await outer.transaction((inner) => app.tasks.enqueue(Work, 'inner', { manager: inner }));
    });
    expect(await stored()).toEqual([]);
    expect(seen).toEqual([]);
  });

  it('is announced after the commit, in order, and not when the transaction is rolled back', async () => {
    const app = producer();
    const seen = enqueuedEvents(app);
    await rolledBack(dataSource().manager, (manager) => app.tasks.enqueue(Work, 'never', { manager }));
    const ids = await dataSource().transaction(async (manager) => {
      const results = await app.tasks.enqueueMany(Work, ['a', 'b'], { manager });
      results.push(await app.tasks.enqueue(Work, 'c', { manager }));
      expect(seen).toEqual([]);
      return results.map(({ id }) => id);
    });
    expect(seen).toEqual(ids.map((id) => ({ id, name: 'work', queue: 'default', duplicate: false })));
    await stored();
  });

  it('is not announced when the commit fails', async () => {
    const app = producer();
    const seen = enqueuedEvents(app);
    const table = `"${app.schema}".deferred`;
    await sql(`CREATE TABLE ${table} (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)`);
    const transaction = dataSource().transaction(async (manager) => {
      await app.tasks.enqueue(Work, 'never', { manager });
      await manager.query(`INSERT INTO ${table} VALUES (1), (1)`);
    });
    await expect(transaction).rejects.toThrow(/unique/);
    expect(seen).toEqual([]);
    expect(await stored()).toEqual([]);
  });

  it('is announced when a query runner commits it by hand', async () => {
    const app = producer();
    const seen = enqueuedEvents(app);
    const runner = dataSource().createQueryRunner();
    await runner.startTransaction();
    await app.tasks.enqueue(Work, 'rolled back', { manager: runner.manager });
    await runner.rollbackTransaction();
    await runner.startTransaction();
    await app.tasks.enqueue(Work, 'committed', { manager: runner.manager });
    expect(seen).toEqual([]);
    await runner.commitTransaction();
    await runner.release();
    expect(seen).toHaveLength(1);
    expect(await stored()).toEqual(['committed']);
  });

  it('is not stored by a manager whose transaction is over', async () => {
    const { tasks } = producer();
    const manager = await dataSource().transaction(async (inner) => inner);
    await expect(tasks.enqueue(Work, 'late', { manager })).rejects.toThrow(/released/);
    expect(await stored()).toEqual([]);
  });

  it('needs no transaction of the default isolation', async () => {
    const { tasks } = producer();
    for (const level of ['READ UNCOMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const) {
      await dataSource().transaction(level, async (manager) => {
        await tasks.enqueue(Work, level, { manager });
        await tasks.enqueue(UniqueWork, level, { manager });
      });
    }
    expect(await stored()).toHaveLength(6);
  });
});

describe("a worker, while a caller's transaction is open,", () => {
  /** Whatever is committed before this task has been seen by the workers once it is done. */
  async function workersLooked({ tasks, events }: TestApp): Promise<void> {
    const done = next(events, 'done', 1, ({ name }) => name === 'unique-work');
    await tasks.enqueue(UniqueWork, crypto.randomUUID());
    await done;
  }

  it('neither sees nor starts its tasks, and starts them when it commits', async () => {
    const app = await bootApp([Work, UniqueWork], { queues: [{ name: 'default', pollIntervalMs: 3_600_000 }] });
    const seen = enqueuedEvents(app);
    const started: string[] = [];
    app.events.started.subscribe(({ name }) => started.push(name));
    const done = next(app.events, 'done', 1, ({ name }) => name === 'work');
    const { id } = await dataSource().transaction(async (manager) => {
      const result = await app.tasks.enqueue(Work, 'later', { manager, priority: 9 });
      await workersLooked(app);
      expect(await app.tasks.find(result.id)).toBeNull();
      expect(started).toEqual(['unique-work']);
      expect(seen).toHaveLength(1);
      return result;
    });
    expect((await done)[0]!.id).toBe(id);
    expect(app.app.get(Work).done).toEqual(['later']);
  });

  it('never starts them when it rolls back', async () => {
    const app = await bootApp([Work, UniqueWork]);
    await rolledBack(dataSource().manager, async (manager) => {
      await app.tasks.enqueue(Work, 'never', { manager, priority: 9 });
      await workersLooked(app);
    });
    await workersLooked(app);
    expect(app.app.get(Work).done).toEqual([]);
    expect(await app.tasks.counts()).toMatchObject({ ready: 0, running: 0 });
  });

  it('in another process, hears of the commit without polling', async () => {
    const worker = await bootApp([Work], { queues: [{ name: 'default', pollIntervalMs: 3_600_000 }] });
    const producer = await bootApp([Work], { workers: false, schema: worker.schema });
    const done = next(worker.events, 'done');
    await dataSource().transaction((manager) => producer.tasks.enqueue(Work, 'from afar', { manager }));
    await done;
    expect(worker.app.get(Work).done).toEqual(['from afar']);
  });
});

describe.each(['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const)(
  'a duplicate never aborts its %s transaction',
  (level) => {
    const app = shared(() => bootApp([Work, UniqueWork], { workers: false }));

    /** Opens a transaction and its snapshot. */
    async function begin() {
      const runner = dataSource().createQueryRunner();
      onTestFinished(() => runner.release());
      await runner.startTransaction(level);
      await runner.query('SELECT pg_current_snapshot()');
      return runner;
    }

    it('when the holder stood before it began', async () => {
      const { tasks } = app();
      const holder = await tasks.enqueue(UniqueWork, 'before');
      const runner = await begin();
      const { manager } = runner;
      expect(await tasks.enqueue(UniqueWork, 'before', { manager })).toEqual({ id: holder.id, duplicate: true });
      const mine = await tasks.enqueue(Work, 'mine', { manager });
      await runner.commitTransaction();
      expect(await tasks.find(mine.id)).not.toBeNull();
    });

    it('when the holder has come after its snapshot', async () => {
      const { tasks } = app();
      const runner = await begin();
      const holder = await tasks.enqueue(UniqueWork, 'after');
      const { manager } = runner;
      const mine = await tasks.enqueue(Work, 'mine', { manager });
      expect(await tasks.enqueue(UniqueWork, 'after', { manager })).toEqual({ id: holder.id, duplicate: true });
      const many = await tasks.enqueueMany(UniqueWork, ['new', 'after', 'new'], { manager });
      expect(many.map(({ duplicate }) => duplicate)).toEqual([false, true, true]);
      expect(many[1]!.id).toBe(holder.id);
      expect(many[2]!.id).toBe(many[0]!.id);
      await runner.commitTransaction();
      for (const { id } of [mine, many[0]!]) expect(await tasks.find(id)).not.toBeNull();
    });

    it('when the holder is its own', async () => {
      const { tasks } = app();
      const runner = await begin();
      const { manager } = runner;
      const holder = await tasks.enqueue(UniqueWork, 'own', { manager });
      expect(await tasks.enqueue(UniqueWork, 'own', { manager })).toEqual({ id: holder.id, duplicate: true });
      await runner.commitTransaction();
      expect(await tasks.find(holder.id)).not.toBeNull();
    });

    it('when the holder has gone after its snapshot, and takes its place', async () => {
      const { tasks } = app();
      const holder = await tasks.enqueue(UniqueWork, 'gone');
      const runner = await begin();
      await tasks.remove(holder.id);
      const result = await tasks.enqueue(UniqueWork, 'gone', { manager: runner.manager });
      expect(result.duplicate).toBe(false);
      await runner.commitTransaction();
      expect(await tasks.find(result.id)).not.toBeNull();
    });

    it('beside others that meet duplicates and enqueue more', async () => {
      const { tasks } = app();
      const runners = [await begin(), await begin(), await begin()];
      const holder = await tasks.enqueue(UniqueWork, 'shared');
      for (const { manager } of runners) {
        expect(await tasks.enqueue(UniqueWork, 'shared', { manager })).toEqual({ id: holder.id, duplicate: true });
      }
      const results = [];
      for (const { manager } of runners) results.push(await tasks.enqueue(Work, 'mine', { manager }));
      for (const runner of runners) await runner.commitTransaction();
      for (const { id } of results) expect(await tasks.find(id)).not.toBeNull();
    });

    it('beside others that meet duplicates from before they began', async () => {
      const { tasks } = app();
      const holder = await tasks.enqueue(UniqueWork, 'earlier');
      const runners = [await begin(), await begin(), await begin()];
      for (const { manager } of runners) {
        expect(await tasks.enqueue(UniqueWork, 'earlier', { manager })).toEqual({ id: holder.id, duplicate: true });
      }
      for (const { manager } of runners) await tasks.enqueue(Work, 'mine', { manager });
      for (const runner of runners) await runner.commitTransaction();
    });

    it.each([
      ['commits', true],
      ['rolls back', false],
    ])('when the holder is in a transaction that %s meanwhile', async (_, commits) => {
      const { tasks } = app();
      const first = await begin();
      const second = await begin();
      const holder = await tasks.enqueue(UniqueWork, `race ${commits}`, { manager: first.manager });
      const [{ pid }] = (await second.query('SELECT pg_backend_pid() AS pid')) as [{ pid: number }];
      const racing = tasks.enqueue(UniqueWork, `race ${commits}`, { manager: second.manager });
      await waitsForLock(pid);
      await (commits ? first.commitTransaction() : first.rollbackTransaction());
      const result = await racing;
      expect(result).toEqual(commits ? { id: holder.id, duplicate: true } : { id: result.id, duplicate: false });
      const mine = await tasks.enqueue(Work, 'mine', { manager: second.manager });
      await second.commitTransaction();
      for (const { id } of [mine, result]) expect(await tasks.find(id)).not.toBeNull();
    });
  },
);

/** Asks until this backend waits for another; each question takes its time by itself. */
async function waitsForLock(pid: number): Promise<void> {
  const waits = () => sql(`SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'`, [pid]);
  while ((await waits()).length === 0);
}
