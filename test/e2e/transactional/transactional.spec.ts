import {
  type BackgroundTaskOptions,
  type CurrentTask,
  MemoryTaskStore,
  NotTransactionalError,
  type TaskEventMap,
  TransactionEndedError,
  TransactionsUnsupportedError,
} from 'nestjs-backie';
import { type DataSource, type EntityManager, EntitySchema } from 'typeorm';
import { describe, expect, it } from 'vitest';
import {
  type BackieOptions,
  bootApp,
  freshSchema,
  moduleOf,
  next,
  openDataSource,
  sql,
  type TestApp,
  whenFinished,
} from '../../support/app.js';
import { deferred, forever, found, hasten, taskOf, until } from '../../support/tasks.js';
import { BackieModule } from 'nestjs-backie';
import { Test } from '@nestjs/testing';

const keepAll = { retention: 'keepAll' as const };

interface World extends TestApp {
  readonly dataSource: DataSource;
  /** Writes an effect of this name. */
  write(manager: EntityManager, name: string): Promise<unknown>;
  /** The effects that are there for everybody to see. */
  effects(): Promise<string[]>;
}

type Run = (world: World, task: CurrentTask, payload: unknown) => unknown;

/** An application with a task "work", which is transactional, and one "follow-up", and with a table for their effects. */
async function world(
  run: Run,
  options: BackgroundTaskOptions = {},
  module: BackieOptions = {},
  poolSize = 10,
): Promise<World> {
  const schema = freshSchema();
  const dataSource = await openDataSource({ poolSize });
  await sql(`CREATE SCHEMA "${schema}"; CREATE TABLE "${schema}".effect (name text NOT NULL)`);
  const Work = taskOf('work', (payload, task) => run(made, task, payload), {
    transactional: true,
    maxRetries: 0,
    ...options,
  });
  const FollowUp = taskOf('follow-up', () => {});
  const made: World = {
    dataSource,
    write: (manager, name) => manager.query(`INSERT INTO "${schema}".effect VALUES ($1)`, [name]),
    effects: async () =>
      (await sql<{ name: string }>(`SELECT name FROM "${schema}".effect ORDER BY 1`)).map(({ name }) => name),
    ...(await bootApp([Work, FollowUp], { dataSource, schema, defaults: keepAll, ...module })),
  };
  return made;
}

/** How the only attempt of a new task ends. */
async function outcome({ tasks, events }: World, payload?: unknown) {
  const kinds = ['done', 'retrying', 'snoozed', 'failed', 'cancelled', 'lost'] as const;
  const ended = Promise.race(kinds.map(async (kind) => ({ kind, event: (await next(events, kind))[0]! })));
  const { id } = await tasks.enqueue('work', payload);
  const { kind, event } = await ended;
  const error = 'error' in event ? (event as TaskEventMap['failed']).error : undefined;
  return { id, kind, error };
}

describe('A transactional task', () => {
  it('commits its writes, the tasks that it enqueues and its own end together', async () => {
    let before: unknown;
    const app = await world(async ({ write, effects, tasks }, { manager }) => {
      await write(manager, 'one');
      await tasks.enqueue('follow-up', null, { manager, delayMs: 3_600_000 });
      before = [await effects(), await tasks.counts()];
    });
    const { id, kind } = await outcome(app);
    expect(kind).toBe('done');
    expect(before).toEqual([[], { ready: 0, running: 1, done: 0, failed: 0, cancelled: 0 }]);
    expect(await app.effects()).toEqual(['one']);
    expect(await app.tasks.counts()).toMatchObject({ ready: 1, done: 1 });
    expect(await found(app.tasks, id)).toMatchObject({ state: 'done', attempts: [{ number: 1, outcome: 'done' }] });
    // And the connection is back.
    expect(
      await sql(`SELECT FROM pg_stat_activity WHERE state LIKE 'idle in%' AND query LIKE $1`, [`%${app.schema}%`]),
    ).toEqual([]);
  });

  it('wakes the workers of what it has enqueued after its commit', async () => {
    const app = await world(
      async ({ tasks }, { manager }) => tasks.enqueue('follow-up', null, { manager }),
      {},
      {
        defaults: { ...keepAll, pollIntervalMs: 3_600_000 },
      },
    );
    const done = next(app.events, 'done', 2);
    const enqueued = next(app.events, 'enqueued', 2);
    await app.tasks.enqueue('work');
    expect((await done).map(({ name }) => name).toSorted()).toEqual(['follow-up', 'work']);
    expect((await enqueued).map(({ name }) => name)).toEqual(['work', 'follow-up']);
  });

  it.each([
    ['removeDone', 0],
    ['keepAll', 1],
  ] as const)('is settled as any other with retention %s', async (retention, done) => {
    const app = await world(({ write }, { manager }) => write(manager, 'one'), {}, { defaults: { retention } });
    expect(await outcome(app)).toMatchObject({ kind: 'done' });
    expect(await app.tasks.counts()).toEqual({ ready: 0, running: 0, done, failed: 0, cancelled: 0 });
    expect(await app.effects()).toEqual(['one']);
  });

  it('gives the repositories of the application their transaction', async () => {
    const schema = freshSchema();
    const effect = new EntitySchema<{ name: string }>({
      name: 'effect',
      schema,
      columns: { name: { type: 'text', primary: true } },
    });
    const dataSource = await openDataSource({ entities: [effect] });
    await sql(`CREATE SCHEMA "${schema}"; CREATE TABLE "${schema}".effect (name text PRIMARY KEY)`);
    const rows = () => dataSource.getRepository(effect).find();
    let inside: unknown;
    const Work = taskOf(
      'work',
      async (_payload, { manager, attempt }) => {
        await manager.getRepository(effect).save({ name: `attempt ${attempt}` });
        await manager.transaction((nested) => nested.save(effect, { name: 'nested' }));
        inside = [await manager.count(effect), await rows()];
        if (attempt === 1) throw new Error('not yet');
      },
      { transactional: true, backoff: () => 0 },
    );
    const { tasks, events } = await bootApp([Work], { dataSource, schema });
    const done = next(events, 'done');
    await tasks.enqueue('work');
    expect(await done).toMatchObject([{ attempt: 2 }]);
    expect(inside).toEqual([2, []]);
    expect(await rows()).toEqual([{ name: 'attempt 2' }, { name: 'nested' }]);
  });

  it('has connections of its own when the module has no dataSource', async () => {
    const app = await world(({ write }, { manager }) => write(manager, 'one'), {}, { dataSource: undefined });
    expect(await outcome(app)).toMatchObject({ kind: 'done' });
    expect(await app.effects()).toEqual(['one']);
  });

  it.each([
    [true, 'read committed'],
    [{ isolation: 'READ COMMITTED' }, 'read committed'],
    [{ isolation: 'REPEATABLE READ' }, 'repeatable read'],
    [{ isolation: 'SERIALIZABLE' }, 'serializable'],
  ] as const)('runs at the isolation level of %j', async (transactional, expected) => {
    let level: unknown;
    const app = await world(
      async ({ write }, { manager }) => {
        [{ level }] = await manager.query(`SELECT current_setting('transaction_isolation') AS level`);
        await write(manager, 'one');
      },
      { transactional },
    );
    expect(await outcome(app)).toMatchObject({ kind: 'done' });
    expect(level).toBe(expected);
    expect(await app.effects()).toEqual(['one']);
  });

  it('commits its writes with a snooze', async () => {
    const app = await world(async ({ write }, task) => {
      await write(task.manager, `attempt ${task.attempt}`);
      if (task.attempt === 1) task.snooze(3_600_000);
    });
    const { id, kind } = await outcome(app);
    expect(kind).toBe('snoozed');
    expect(await app.effects()).toEqual(['attempt 1']);
    expect(await found(app.tasks, id)).toMatchObject({ state: 'ready', attempt: 1, retries: 0 });
    const done = next(app.events, 'done');
    await hasten(app, id);
    await done;
    expect(await app.effects()).toEqual(['attempt 1', 'attempt 2']);
  });

  it.each<[string, (task: CurrentTask) => unknown, string]>([
    ['its end', () => {}, 'SELECT 3600000 AS ms, finished_at AS at, kept_until AS until FROM SCHEMA.finished_task'],
    [
      'a snooze',
      (task) => task.snooze(3_600_000),
      `SELECT 3600000 AS ms, scheduled_at AS until,
         to_timestamp((attempts #>> '{0,finishedAt}')::float8 / 1000) AS at FROM SCHEMA.task`,
    ],
  ])('times %s when its handler has returned, and not when its transaction began', async (_, end, times) => {
    let returned: unknown;
    const app = await world(
      async (_world, task) => {
        [{ returned }] = await task.manager.query('SELECT clock_timestamp()::text AS returned');
        await end(task);
      },
      {},
      { defaults: { retention: { done: 3_600_000 } } },
    );
    await outcome(app);
    const late = `SELECT at > $1::timestamptz - interval '1 us' AS at, until > $1::timestamptz + ms * interval '1 ms' AS until
      FROM (${times.replaceAll('SCHEMA', `"${app.schema}"`)}) t`;
    expect(await sql(late, [returned])).toEqual([{ at: true, until: true }]);
  });

  it('waits for the statements that its handler has not waited for', async () => {
    const go = deferred();
    const app = await world(async ({ write }, { manager }) => {
      await write(manager, 'one');
      void write(manager, 'two');
    });
    // The second comes to the driver when the handler has returned long since.
    app.dataSource.subscribers.push({
      beforeQuery: ({ parameters }) => ((parameters as unknown[] | undefined)?.[0] === 'two' ? go.promise : undefined),
    });
    const done = next(app.events, 'done');
    const { id } = await app.tasks.enqueue('work');
    for (let look = 0; look < 20; look++) expect(await found(app.tasks, id)).not.toMatchObject({ state: 'done' });
    go.resolve();
    await done;
    expect(await app.effects()).toEqual(['one', 'two']);
    const rows = await sql<{ xmin: string }>(`SELECT DISTINCT xmin::text FROM "${app.schema}".effect`);
    expect(rows).toHaveLength(1);
  });

  it('commits what subscribers of the application write before the commit', async () => {
    const app = await world(({ write }, { manager }) => write(manager, 'one'));
    app.dataSource.subscribers.push({
      beforeTransactionCommit: async ({ queryRunner }) => void (await app.write(queryRunner.manager, 'two')),
    });
    expect(await outcome(app)).toMatchObject({ kind: 'done' });
    expect(await app.effects()).toEqual(['one', 'two']);
  });
});

describe('A transactional task stores nothing when its handler', () => {
  it.each<[string, Run, RegExp]>([
    ['throws', () => Promise.reject(new Error('no')), /^no$/],
    [
      'ignores an error of the database',
      ({ write }, { manager }) => write(manager, null as never).catch(() => {}),
      /rolled back, since one of its statements had failed/,
    ],
    [
      'leaves a transaction within open',
      (_, { manager }) => manager.queryRunner?.startTransaction(),
      /rolled back, since its handler returned within a transaction/,
    ],
    [
      'loses its connection',
      (_, { manager }) => manager.query('SELECT pg_terminate_backend(pg_backend_pid())').catch(() => {}),
      /rolled back, since its connection broke/,
    ],
  ])('%s', async (_, run, message) => {
    const app = await world(async (own, task, payload) => {
      await own.write(task.manager, 'one');
      await own.tasks.enqueue('follow-up', null, { manager: task.manager });
      await run(own, task, payload);
    });
    const { id, kind, error } = await outcome(app);
    expect(kind).toBe('failed');
    expect((error as Error).message).toMatch(message);
    expect(await app.effects()).toEqual([]);
    expect(await app.tasks.counts()).toEqual({ ready: 0, running: 0, done: 0, failed: 1, cancelled: 0 });
    const { attempts } = await found(app.tasks, id);
    expect(attempts).toMatchObject([{ outcome: 'failed', error: { message: (error as Error).message } }]);
  });

  it('is followed by a subscriber whose statement fails before the commit', async () => {
    const app = await world(({ write }, { manager }) => write(manager, 'one'));
    app.dataSource.subscribers.push({
      beforeTransactionCommit: async ({ queryRunner }) =>
        void (await queryRunner.query('SELECT 1 / 0').catch(() => {})),
    });
    const { id, kind, error } = await outcome(app);
    expect([kind, (error as Error).name]).toEqual(['failed', 'TransactionFailedError']);
    expect(await app.effects()).toEqual([]);
    expect(await found(app.tasks, id)).toMatchObject({ state: 'failed' });
  });

  it('violates a constraint that is checked at the commit, which is a failed attempt', async () => {
    const app = await world(
      async ({ write }, { manager, attempt }) => {
        await write(manager, `attempt ${attempt}`);
        if (attempt === 1) await write(manager, 'attempt 1');
      },
      { maxRetries: 1, backoff: () => 0 },
    );
    await sql(`ALTER TABLE "${app.schema}".effect ADD UNIQUE (name) DEFERRABLE INITIALLY DEFERRED`);
    const retrying = next(app.events, 'retrying');
    const done = next(app.events, 'done');
    await app.tasks.enqueue('work');
    expect(((await retrying)[0]!.error as Error).message).toContain('duplicate key value');
    expect(await done).toMatchObject([{ attempt: 2 }]);
    expect(await app.effects()).toEqual(['attempt 2']);
  });

  it('cannot be serialised with another transaction, which is a failed attempt', async () => {
    const app = await world(
      async ({ write, dataSource }, { manager, attempt }) => {
        await manager.query(`SELECT count(*) FROM "${app.schema}".effect`);
        if (attempt === 1) {
          await dataSource.transaction('SERIALIZABLE', async (other) => {
            await other.query(`SELECT count(*) FROM "${app.schema}".effect`);
            await write(other, 'other');
          });
        }
        await write(manager, `attempt ${attempt}`);
      },
      { transactional: { isolation: 'SERIALIZABLE' }, maxRetries: 1, backoff: () => 0 },
    );
    const retrying = next(app.events, 'retrying');
    const done = next(app.events, 'done');
    await app.tasks.enqueue('work');
    expect(((await retrying)[0]!.error as { driverError: { code: string } }).driverError.code).toBe('40001');
    await done;
    expect(await app.effects()).toEqual(['attempt 2', 'other']);
  });

  it.each<[string, BackgroundTaskOptions, (app: World) => Promise<unknown>]>([
    [
      'is lost in a deadlock',
      {},
      ({ schema }) =>
        sql(`CREATE SEQUENCE "${schema}".times;
          CREATE FUNCTION "${schema}".lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('"${schema}".times') = 1 THEN RAISE 'deadlock detected' USING ERRCODE = '40P01'; END IF;
            RETURN NEW;
          END $$;
          CREATE TRIGGER lose BEFORE INSERT ON "${schema}".finished_task FOR EACH ROW EXECUTE FUNCTION "${schema}".lose()`),
    ],
    [
      'meets a newer row of the task',
      { transactional: { isolation: 'REPEATABLE READ' } },
      ({ schema }) => sql(`UPDATE "${schema}".task SET awaited = true WHERE NOT awaited`),
    ],
  ])('%s at its settlement, which uses up no retry', async (_, options, disturb) => {
    let runs = 0;
    const app = await world(async (own, { manager, attempt }) => {
      await own.write(manager, `attempt ${attempt}`);
      if (runs++ === 0) await disturb(own);
    }, options);
    const { id, kind } = await outcome(app);
    expect([kind, runs]).toEqual(['done', 2]);
    expect(await app.effects()).toEqual(['attempt 1']);
    expect(await found(app.tasks, id)).toMatchObject({ state: 'done', attempt: 1, retries: 0 });
  });

  it('exceeds its timeout, though a statement of it waits for a lock', async () => {
    const app = await world(
      async ({ write }, { manager }) => {
        await write(manager, 'one');
        await manager.query(`LOCK TABLE "${app.schema}".worth_waiting_for`);
      },
      { timeoutMs: 300 },
    );
    await sql(`CREATE TABLE "${app.schema}".worth_waiting_for ()`);
    const release = deferred();
    const held = app.dataSource.transaction(async (manager) => {
      await manager.query(`LOCK TABLE "${app.schema}".worth_waiting_for`);
      await release.promise;
    });
    const { kind, error } = await outcome(app);
    expect([kind, (error as Error).name]).toEqual(['failed', 'TaskTimeoutError']);
    // Its session does not stay behind.
    const waiting = () =>
      sql(`SELECT FROM pg_stat_activity WHERE query LIKE $1 AND wait_event_type = 'Lock'`, [`LOCK%${app.schema}%`]);
    await until(waiting, ({ length }) => length === 0);
    release.resolve();
    await held;
    expect(await app.effects()).toEqual([]);
  });

  it('is cancelled', async () => {
    const wrote = deferred();
    const app = await world(async ({ write }, { manager }) => {
      await write(manager, 'one');
      wrote.resolve();
      await forever();
    });
    const cancelled = next(app.events, 'cancelled');
    const { id } = await app.tasks.enqueue('work');
    await wrote.promise;
    await app.tasks.cancel(id);
    await cancelled;
    expect(await app.effects()).toEqual([]);
    expect(await found(app.tasks, id)).toMatchObject({ state: 'cancelled' });
  });

  it('is interrupted by a shutdown', async () => {
    const wrote = deferred();
    const app = await world(async ({ write }, { manager }) => {
      await write(manager, 'one');
      wrote.resolve();
      await forever();
    });
    const { id } = await app.tasks.enqueue('work');
    await wrote.promise;
    await app.pool.drain({ graceMs: 0 });
    expect(await app.effects()).toEqual([]);
    expect(await found(app.tasks, id)).toMatchObject({ state: 'ready', attempt: 0, retries: 0 });
  });

  it('belongs to a worker that has lost its lease', async () => {
    const wrote = deferred();
    const app = await world(
      async ({ write }, { manager, attempt }) => {
        await write(manager, `attempt ${attempt}`);
        if (attempt > 1) return;
        wrote.resolve();
        await forever();
      },
      {},
      { leaseMs: 1_000, heartbeatMs: 100 },
    );
    const lost = next(app.events, 'lost');
    const done = next(app.events, 'done');
    await app.tasks.enqueue('work');
    await wrote.promise;
    // At once: in between the task could be given to the next worker already.
    await sql(`UPDATE "${app.schema}".worker SET lease_until = now() - interval '1 h';
      UPDATE "${app.schema}".task SET worker_id = NULL`);
    expect(await lost).toMatchObject([{ attempt: 1 }]);
    const [{ attempt }] = await done;
    expect(attempt).toBeGreaterThan(1);
    expect(await app.effects()).toEqual([`attempt ${attempt}`]);
  });

  it('returns after somebody else has been given its task', async () => {
    const go = deferred();
    const wrote = deferred();
    const app = await world(async ({ write }, { manager }) => {
      await write(manager, 'one');
      wrote.resolve();
      await go.promise;
    });
    const lost = next(app.events, 'lost');
    const { id } = await app.tasks.enqueue('work');
    await wrote.promise;
    await sql(`UPDATE "${app.schema}".task SET claim_seq = claim_seq + 1 WHERE id = $1`, [id]);
    go.resolve();
    expect(await lost).toMatchObject([{ id }]);
    expect(await app.effects()).toEqual([]);
    expect(await found(app.tasks, id)).toMatchObject({ state: 'running', claimSeq: 2 });
  });
});

describe('task.manager', () => {
  it('is an error in a task that is not transactional', async () => {
    const app = await world((_, task) => task.manager, { transactional: false });
    const { kind, error } = await outcome(app);
    expect(kind).toBe('failed');
    expect(error).toBeInstanceOf(NotTransactionalError);
    expect((error as Error).message).toContain('@BackgroundTask("work", { transactional: true })');
  });

  it.each<[string, (task: CurrentTask) => unknown]>([
    ['returned', () => {}],
    ['thrown', () => Promise.reject(new Error('no'))],
    ['timed out', forever],
  ])('refuses to be used when its handler has %s', async (_, end) => {
    let kept: EntityManager | undefined;
    const app = await world(
      (_world, task) => {
        kept = task.manager;
        return end(task);
      },
      { timeoutMs: 500 },
    );
    await outcome(app);
    await expect(app.write(kept!, 'late')).rejects.toThrow(/released|had ended/);
    await expect(kept!.transaction((nested) => app.write(nested, 'late'))).rejects.toThrow();
    await expect(kept!.queryRunner!.stream('SELECT 1')).rejects.toThrow();
    expect(await app.effects()).toEqual([]);
  });

  it('refuses to be used while its transaction is being settled', async () => {
    let kept: EntityManager | undefined;
    const go = deferred();
    const app = await world(async ({ write }, { manager }) => {
      kept = manager;
      await write(manager, 'one');
      await go.promise;
    });
    const done = next(app.events, 'done');
    const started = next(app.events, 'started');
    const { id } = await app.tasks.enqueue('work');
    await started;
    const locking = app.dataSource.createQueryRunner();
    whenFinished(() => locking.release());
    await locking.startTransaction();
    await locking.query(`SELECT FROM "${app.schema}".task WHERE id = $1 FOR UPDATE`, [id]);
    go.resolve();
    const waiting = () =>
      sql(`SELECT FROM pg_stat_activity WHERE query LIKE $1 AND wait_event_type = 'Lock'`, [`%${app.schema}%`]);
    await until(waiting, ({ length }) => length > 0);
    await expect(app.write(kept!, 'late')).rejects.toThrow(TransactionEndedError);
    await expect(kept!.queryRunner!.stream('SELECT 1')).rejects.toThrow(TransactionEndedError);
    await locking.rollbackTransaction();
    await done;
    expect(await app.effects()).toEqual(['one']);
  });

  it.each<[string, (world: World, manager: EntityManager) => Promise<unknown>]>([
    ['a query', (_, manager) => manager.query('SELECT 1')],
    ['a write', ({ write }, manager) => write(manager, 'late')],
    ['a savepoint', (_, manager) => manager.transaction(async () => {})],
    ['an enqueue', ({ tasks }, manager) => tasks.enqueue('follow-up', {}, { manager })],
  ])('names the task when its manager is used after it has ended, by %s', async (_, use) => {
    let kept: EntityManager | undefined;
    const app = await world(async ({ write }, { manager }) => {
      kept = manager;
      await write(manager, 'one');
    });
    const { id } = await outcome(app);
    const late = use(app, kept!);
    await expect(late).rejects.toThrow(TransactionEndedError);
    await expect(late).rejects.toThrow(id);
    expect(await app.effects()).toEqual(['one']);
  });

  it.each<[string, (manager: EntityManager) => unknown]>([
    ['COMMIT', (manager) => manager.query('COMMIT')],
    ['a rollback', (manager) => manager.query('  rollback')],
    ['a COMMIT after a comment', (manager) => manager.query('/* a **/ COMMIT')],
    ['a COMMIT after a line', (manager) => manager.query('-- COMMIT\n-- a\n COMMIT')],
    ['a COMMIT after nothing', (manager) => manager.query(' ;COMMIT')],
    ['commitTransaction()', (manager) => manager.queryRunner!.commitTransaction()],
    ['rollbackTransaction()', (manager) => manager.queryRunner!.rollbackTransaction()],
  ])('refuses to end its own transaction by %s', async (_, end) => {
    const app = await world(async ({ write }, { manager }) => {
      await write(manager, 'one');
      await expect(end(manager)).rejects.toThrow(TransactionEndedError);
      await manager.queryRunner!.release();
      await write(manager, 'two');
    });
    expect(await outcome(app)).toMatchObject({ kind: 'done' });
    expect(await app.effects()).toEqual(['one', 'two']);
  });

  it.each([
    ['SELECT 1; COMMIT', ['one', 'two']],
    ['SELECT 1; ROLLBACK', ['two']],
    ['SELECT 1; COMMIT; BEGIN', ['one']],
  ])('cannot end its own transaction unnoticed by %j', async (text, effects) => {
    const app = await world(async ({ write }, { manager }) => {
      await write(manager, 'one');
      await manager.query(text);
      await write(manager, 'two');
    });
    const { id, kind, error } = await outcome(app);
    expect(kind).toBe('failed');
    expect(error).toBeInstanceOf(TransactionEndedError);
    expect((error as Error).message).toContain('has ended the transaction of task.manager');
    expect(await app.effects()).toEqual(effects);
    expect(await found(app.tasks, id)).toMatchObject({ state: 'failed' });
  });

  it('may roll a transaction within back', async () => {
    const app = await world(async ({ write }, { manager }) => {
      await write(manager, 'one');
      const within = manager.transaction(async (nested) => {
        await write(nested, 'two');
        throw new Error('changed my mind');
      });
      await expect(within).rejects.toThrow('changed my mind');
      await manager.query('SAVEPOINT own');
      await write(manager, 'three');
      await manager.query('ROLLBACK TO SAVEPOINT own');
    });
    expect(await outcome(app)).toMatchObject({ kind: 'done' });
    expect(await app.effects()).toEqual(['one']);
  });
});

describe("The application's pool", () => {
  it('may be exhausted: an attempt that waits for a connection times out, and others run', async () => {
    const app = await world(({ write }, { manager }) => write(manager, 'one'), { timeoutMs: 300 }, {}, 1);
    const runner = app.dataSource.createQueryRunner();
    whenFinished(() => runner.release());
    await runner.connect();
    const { id, kind, error } = await outcome(app);
    expect([kind, (error as Error).name]).toEqual(['failed', 'TaskTimeoutError']);
    const done = next(app.events, 'done');
    await app.tasks.enqueue('follow-up');
    await done;
    // The connection that comes too late is given back.
    await runner.release();
    const again = next(app.events, 'done');
    await app.tasks.retry(id);
    await again;
    expect(await app.effects()).toEqual(['one']);
  });

  it('is waited for no longer than the grace of a shutdown', async () => {
    const app = await world(({ write }, { manager }) => write(manager, 'one'), {}, {}, 1);
    const runner = app.dataSource.createQueryRunner();
    whenFinished(() => runner.release());
    await runner.connect();
    const started = next(app.events, 'started');
    const { id } = await app.tasks.enqueue('work');
    await started;
    await app.pool.drain({ graceMs: 0 });
    expect(await found(app.tasks, id)).toMatchObject({ state: 'ready', attempt: 0 });
  });
});

describe('At start', () => {
  it('a transactional task is refused by a store without transactions', async () => {
    const Work = taskOf('work', () => {}, { transactional: true });
    const module = moduleOf([Work], [BackieModule.forRoot({ store: new MemoryTaskStore() })]);
    const app = await Test.createTestingModule({ imports: [module] }).compile();
    app.useLogger(false);
    const starting = app.init();
    await expect(starting).rejects.toThrow(TransactionsUnsupportedError);
    await expect(starting).rejects.toThrow('The tasks "work" are transactional, but the store (memory)');
  });
});
