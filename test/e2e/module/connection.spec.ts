import {
  BackgroundTask,
  type BackgroundTaskHandler,
  BackieModule,
  ConnectionFailedError,
  InvalidOptionsError,
  MissingConnectionError,
  TaskEvents,
  TaskQueue,
} from 'nestjs-backie';
import { DataSource, EntitySchema } from 'typeorm';
import { beforeEach, expect, inject, it, vi } from 'vitest';
import {
  bootApp,
  bootModule,
  freshDatabase,
  freshSchema,
  moduleOf,
  openDataSource,
  runTask,
  sql,
} from '../../support/app.js';

@BackgroundTask('greet')
class Greet implements BackgroundTaskHandler<string> {
  readonly greeted: string[] = [];

  run(name: string): void {
    this.greeted.push(name);
  }
}

beforeEach(() => {
  vi.stubEnv('DATABASE_URL', undefined);
});

it('uses DATABASE_URL and the schema "backie" when forRoot() is given nothing', async () => {
  const url = await freshDatabase();
  vi.stubEnv('DATABASE_URL', url);
  const app = await bootModule(moduleOf([Greet], [BackieModule.forRoot()]));
  await runTask({ tasks: app.get(TaskQueue), events: app.get(TaskEvents) }, Greet, 'Ada');
  expect(app.get(Greet).greeted).toEqual(['Ada']);
  const dataSource = await openDataSource({ url } as object);
  expect(await dataSource.query(`SELECT to_regclass('backie.task') IS NOT NULL AS there`)).toEqual([{ there: true }]);
});

it('prefers the given connection to DATABASE_URL', async () => {
  vi.stubEnv('DATABASE_URL', 'postgres://nobody@127.0.0.1:1/nowhere');
  const app = await bootApp([Greet], { connection: inject('databaseUrl') });
  await runTask(app, Greet, 'Ada');
  expect(app.app.get(Greet).greeted).toEqual(['Ada']);
});

it("connects by TypeORM's options, of which only those of the connection count", async () => {
  const schema = freshSchema();
  const { hostname, port, username, password, pathname } = new URL(inject('databaseUrl'));
  const Intruder = new EntitySchema({ name: `intruder_${schema}`, columns: { id: { type: 'int', primary: true } } });
  const app = await bootApp([Greet], {
    schema,
    connection: {
      host: hostname,
      port: Number(port),
      username: decodeURIComponent(username),
      password: decodeURIComponent(password),
      database: pathname.slice(1),
      entities: [Intruder],
      synchronize: true,
      dropSchema: true,
    },
  });
  await runTask(app, Greet, 'Ada');
  expect(app.app.get(Greet).greeted).toEqual(['Ada']);
  expect(await sql(`SELECT FROM pg_class WHERE relname = $1`, [`intruder_${schema}`])).toEqual([]);
});

it("leaves the application's own DataSource open and as it was when the application closes", async () => {
  const dataSource = await openDataSource();
  const { app, tasks, ...rest } = await bootApp([Greet], { dataSource });
  await runTask({ tasks, ...rest }, Greet, 'Ada');
  await dataSource.transaction((manager) => tasks.enqueue(Greet, 'Bob', { manager }));
  await app.close();
  expect(dataSource.isInitialized).toBe(true);
  expect(dataSource.subscribers).toEqual([]);
  expect(await dataSource.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

it('takes over the options of a DataSource that is not connected, without connecting it', async () => {
  const dataSource = new DataSource({ type: 'postgres', url: inject('databaseUrl') });
  const app = await bootApp([Greet], { dataSource });
  await runTask(app, Greet, 'Ada');
  expect(dataSource.isInitialized).toBe(false);
});

it("works on while the application's own pool is exhausted", async () => {
  const dataSource = await openDataSource({ poolSize: 1 });
  const runner = dataSource.createQueryRunner();
  await runner.connect();
  try {
    const app = await bootApp([Greet], { dataSource });
    await runTask(app, Greet, 'Ada');
    expect(app.app.get(Greet).greeted).toEqual(['Ada']);
  } finally {
    await runner.release();
  }
});

it('refuses to start in production without a connection, and says what to set', async () => {
  vi.stubEnv('NODE_ENV', 'production');
  const booting = bootModule(moduleOf([Greet], [BackieModule.forRoot()]));
  await expect(booting).rejects.toThrow(MissingConnectionError);
  await expect(booting).rejects.toThrow(/DATABASE_URL.*dataSource.*connection/);
});

it('takes an empty DATABASE_URL for none', async () => {
  vi.stubEnv('NODE_ENV', 'production');
  vi.stubEnv('DATABASE_URL', '');
  await expect(bootModule(moduleOf([], [BackieModule.forRoot()]))).rejects.toThrow(MissingConnectionError);
});

it('names the server that it cannot reach, but not the password', async () => {
  const booting = bootApp([], { connection: 'postgres://ada:s3cret@127.0.0.1:1/tasks', connectTimeoutMs: 0 });
  await expect(booting).rejects.toThrow(ConnectionFailedError);
  await expect(booting).rejects.toThrow(/127\.0\.0\.1:1\/tasks/);
  await expect(booting).rejects.not.toThrow(/s3cret/);
});

it('refuses a dataSource together with a connection', async () => {
  const dataSource = new DataSource({ type: 'postgres', url: inject('databaseUrl') });
  const booting = bootApp([], { dataSource, connection: inject('databaseUrl') });
  await expect(booting).rejects.toThrow(InvalidOptionsError);
  await expect(booting).rejects.toThrow(/either dataSource or connection/);
});

it('refuses a DataSource of another kind of database, and names it', async () => {
  const dataSource = new DataSource({ type: 'cockroachdb', url: inject('databaseUrl'), timeTravelQueries: false });
  const booting = bootApp([], { dataSource });
  await expect(booting).rejects.toThrow(InvalidOptionsError);
  await expect(booting).rejects.toThrow(/"postgres", not "cockroachdb"/);
});
