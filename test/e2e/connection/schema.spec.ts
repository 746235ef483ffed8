import { randomUUID } from 'node:crypto';
import { InvalidOptionsError, SchemaOutdatedError, SchemaTooNewError } from 'nestjs-backie';
import { backieEntities, backieMigrations } from 'nestjs-backie/typeorm';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import {
  bootApp,
  freshDatabase,
  freshSchema,
  next,
  openDataSource,
  runTask,
  shared,
  sql,
  whenFinished,
} from '../../support/app.js';
import { backends } from '../../support/backends.js';
import { found, taskOf } from '../../support/tasks.js';

const Work = taskOf('work', () => {});

describe('versions', () => {
  it.each(['run', 'check'] as const)(
    'refuses a schema that a newer version made, migrations: %s',
    async (migrations) => {
      const { schema } = await bootApp([], { workers: false });
      await sql(`COMMENT ON TABLE "${schema}".task IS 'nestjs-backie schema 9999'`);
      const own = backends();
      const refused = bootApp([Work], { schema, migrations, connection: own.connection });
      await expect(refused).rejects.toThrow(SchemaTooNewError);
      await expect(refused).rejects.toThrow(new RegExp(`"${schema}".*9999`));
      await own.gone();
    },
  );

  it('refuses a database without the tables when it shall only check, creates nothing, and says the fix', async () => {
    const schema = freshSchema();
    const own = backends();
    const refused = bootApp([Work], { schema, migrations: 'check', connection: own.connection });
    await expect(refused).rejects.toThrow(SchemaOutdatedError);
    await expect(refused).rejects.toThrow(/backieMigrations\(\)/);
    expect(await sql('SELECT FROM pg_namespace WHERE nspname = $1', [schema])).toEqual([]);
    await own.gone();
  });

  it.each(['check', 'off'] as const)('works on tables that are there, migrations: %s', async (migrations) => {
    const { schema } = await bootApp([], { workers: false });
    await runTask(await bootApp([Work], { schema, migrations }), Work);
  });

  it('lets ten applications that start together create the tables once', async () => {
    const schema = freshSchema();
    const Counted = taskOf('counted', () => {});
    const booted = await Promise.all(Array.from({ length: 10 }, () => bootApp([Counted], { schema })));
    const done = Promise.race(booted.map(({ events }) => next(events, 'done')));
    await booted[0].tasks.enqueue(Counted);
    await done;
    expect(await sql(`SELECT FROM "${schema}".worker`)).toHaveLength(10);
  });
});

describe("migrations in the application's own", () => {
  /** The application's migrations, with a table of theirs that no other test uses. */
  async function openApp(...schemas: string[]): Promise<DataSource> {
    const migrationsTableName = `m_${randomUUID().replaceAll('-', '')}`;
    whenFinished(() => sql(`DROP TABLE IF EXISTS ${migrationsTableName}`));
    const migrations = schemas.flatMap((schema) => backieMigrations({ schema }));
    return openDataSource({ migrationsTableName, migrations });
  }

  it('create the tables, are content with tables that are there, and take them away again', async () => {
    const schema = freshSchema();
    const dataSource = await openApp(schema);
    expect((await dataSource.runMigrations()).length).toBeGreaterThan(0);
    expect(await dataSource.runMigrations()).toEqual([]);
    for (const migrations of ['check', 'run'] as const) {
      const booted = await bootApp([Work], { schema, migrations });
      await runTask(booted, Work);
      await booted.app.close();
    }

    for (const _migration of backieMigrations({ schema })) await dataSource.undoLastMigration();
    expect(await sql('SELECT FROM pg_tables WHERE schemaname = $1', [schema])).toEqual([]);
    await expect(bootApp([Work], { schema, migrations: 'check' })).rejects.toThrow(SchemaOutdatedError);
    await dataSource.runMigrations();
    await runTask(await bootApp([Work], { schema, migrations: 'check' }), Work);
  });

  it('are content with tables that the module made', async () => {
    const { schema, tasks } = await bootApp([], { workers: false });
    const { id } = await tasks.enqueue('work');
    const dataSource = await openApp(schema);
    await dataSource.runMigrations();
    expect(await found(tasks, id)).toMatchObject({ state: 'ready' });
  });

  it('serve several schemas side by side', async () => {
    const schemas = [freshSchema(), freshSchema()];
    const dataSource = await openApp(...schemas);
    await dataSource.runMigrations();
    for (const schema of schemas) await runTask(await bootApp([Work], { schema, migrations: 'check' }), Work);
  });
});

describe('names of schemas', () => {
  const odd = [
    'My "Schema" ünï',
    'select',
    'a.b.c',
    "it's",
    'UPPER',
    ' spaces ',
    '💥',
    '%s $1 :x ?',
    'x'.repeat(63),
    '"',
  ];
  const database = shared(freshDatabase);

  it.each(odd)('%s', async (schema) => {
    const connection = database();
    const Hanging = taskOf('hanging', () => new Promise(() => {}));
    const worker = await bootApp([Work, Hanging], {
      schema,
      connection,
      shutdownGraceMs: 0,
      defaults: { pollIntervalMs: 3_600_000, retention: 'keepAll' },
    });
    const other = await bootApp([], { schema, connection, workers: false, migrations: 'check' });
    const started = next(worker.events, 'started', 2);
    const done = next(worker.events, 'done');
    const { id } = await other.tasks.enqueue('work', { n: 1 }, { uniqueKey: 'k' });
    await done;
    const hanging = await other.tasks.enqueue('hanging');
    await started;
    const cancelled = next(worker.events, 'cancelled');
    expect(await other.tasks.cancel(hanging.id)).toBe(true);
    await cancelled;
    expect(await found(other.tasks, id)).toMatchObject({ state: 'done', payload: { n: 1 } });
    await other.tasks.pause('default');
    expect(await worker.tasks.pausedQueues()).toEqual(['default']);
  });

  it.each(['', 'pg_own', 'x'.repeat(64), 'ü'.repeat(32), 'a\0b', '\ud800'])(
    '%j is refused before SQL',
    async (schema) => {
      await expect(bootApp([], { schema, workers: false })).rejects.toThrow(InvalidOptionsError);
    },
  );
});

describe('backieEntities()', () => {
  it('lets an application query its tasks through repositories', async () => {
    const failing = taskOf(
      'failing',
      () => {
        throw new Error('not today');
      },
      { maxRetries: 0 },
    );
    const { schema, tasks, events, pool } = await bootApp([Work, failing]);
    const failed = next(events, 'failed');
    const kept = await tasks.enqueue(failing, { user: 7 });
    await failed;
    const live = await tasks.enqueue(Work, [1, 2], { delayMs: 60_000, priority: 5, uniqueKey: 'k' });
    await tasks.pause('default');

    const entities = backieEntities({ schema });
    const dataSource = await openDataSource({ entities: Object.values(entities) });
    expect(await dataSource.getRepository(entities.task).findOneBy({ id: live.id })).toMatchObject({
      name: 'work',
      queue: 'default',
      priority: 5,
      uniqueKey: 'k',
      payload: [1, 2],
      workerId: null,
      attempts: [],
      scheduledAt: expect.any(Date),
    });
    expect(await dataSource.getRepository(entities.finishedTask).findBy({ state: 'failed' })).toMatchObject([
      { id: kept.id, payload: { user: 7 }, attempts: [{ outcome: 'failed' }], finishedAt: expect.any(Date) },
    ]);
    expect(await dataSource.getRepository(entities.worker).find()).toMatchObject([
      { id: pool.status().workerId, pid: process.pid, queues: ['default'] },
    ]);
    expect(await dataSource.getRepository(entities.queue).find()).toMatchObject([
      { name: 'default', pausedAt: expect.any(Date) },
    ]);
  });

  it("leaves the tables as they are when the application's DataSource synchronizes", async () => {
    const { schema } = await bootApp([], { workers: false });
    const indexes = () =>
      sql<{ indexdef: string }>('SELECT indexdef FROM pg_indexes WHERE schemaname = $1 ORDER BY 1', [schema]);
    const before = await indexes();
    const entities = Object.values(backieEntities({ schema }));
    const dataSource = await openDataSource({ entities });
    await dataSource.synchronize();
    expect(await indexes()).toEqual(before);
    expect((await dataSource.driver.createSchemaBuilder().log()).upQueries).toEqual([]);
    await runTask(await bootApp([Work], { schema, migrations: 'check' }), Work);
  });
});

describe("the application's own type parsers", () => {
  const { builtins } = pg.types;
  const overridden = [
    builtins.INT8,
    builtins.INT4,
    builtins.INT2,
    builtins.FLOAT8,
    builtins.NUMERIC,
    builtins.BOOL,
    builtins.JSON,
    builtins.JSONB,
    builtins.TIMESTAMPTZ,
    builtins.UUID,
  ];

  it.each<[string, (text: string) => unknown]>([
    ['BigInt and the like', (text) => (/^\d+$/.test(text) ? BigInt(text) : `<${text}>`)],
    ['objects', (text) => ({ text })],
  ])('do not reach the engine: %s', async (_title, parse) => {
    for (const type of overridden) {
      const original = pg.types.getTypeParser(type) as (text: string) => unknown;
      pg.types.setTypeParser(type, parse);
      onTestFinished(() => pg.types.setTypeParser(type, original));
    }
    const Failing = taskOf('failing', (_payload, { attempt }) => {
      if (attempt === 1) throw new Error('not today');
    });
    const dataSource = new DataSource({ type: 'postgres', url: inject('databaseUrl') });
    await dataSource.initialize();
    whenFinished(() => dataSource.destroy());
    const booted = await bootApp([Work, Failing], {
      dataSource,
      defaults: { retention: 'keepAll', backoff: { kind: 'none' } },
    });
    const { tasks, events } = booted;
    const done = next(events, 'done', 2);
    const { id } = await tasks.enqueue(Failing, { big: 9_007_199_254_740_991, deep: [{ null: null }] });
    const [one, two] = await dataSource.transaction('SERIALIZABLE', async (manager) => [
      await tasks.enqueue(Work, 1, { manager, uniqueKey: 'k' }),
      await tasks.enqueue(Work, 2, { manager, uniqueKey: 'k' }),
    ]);
    expect([one.duplicate, two]).toEqual([false, { id: one.id, duplicate: true }]);
    await done;
    const task = await found(tasks, id);
    expect(task).toMatchObject({
      state: 'done',
      attempt: 2,
      retries: 1,
      claimSeq: 2,
      payload: { big: 9_007_199_254_740_991, deep: [{ null: null }] },
      attempts: [
        { number: 1, error: { message: 'not today' } },
        { number: 2, outcome: 'done' },
      ],
    });
    expect(Number.isNaN(task.createdAt.getTime())).toBe(false);
    expect(await tasks.counts()).toMatchObject({ done: 2 });
    expect((await tasks.list({}, { limit: 1 })).tasks).toHaveLength(1);
  });
});
