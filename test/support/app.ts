import { randomUUID } from 'node:crypto';
import type { INestApplicationContext, ModuleMetadata, Type } from '@nestjs/common';
import { Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  type BackgroundTaskClass,
  BackieModule,
  type EnqueueOptions,
  TaskEvents,
  TaskQueue,
  type TaskEventKind,
  type TaskEventMap,
  WorkerPool,
} from 'nestjs-backie';
import { filter, firstValueFrom, take, toArray } from 'rxjs';
import { Client } from 'pg';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { beforeAll, inject, onTestFinished } from 'vitest';

export type BackieOptions = NonNullable<Parameters<typeof BackieModule.forRoot>[0]>;

type CleanUp = () => Promise<unknown>;

/** What `shared` will clean up, while it makes something. */
let sharedCleanUps: CleanUp[] | undefined;

/** Cleans up when the test, or what is shared by the tests around it, has finished: the last thing first. */
export function whenFinished(cleanUp: CleanUp): void {
  if (sharedCleanUps) sharedCleanUps.push(cleanUp);
  else
    onTestFinished(async () => {
      await cleanUp();
    });
}

/** Makes something once for all tests of the file or of the `describe` around it. */
export function shared<Thing>(make: () => Promise<Thing>): () => Thing {
  let thing: Thing;
  beforeAll(async () => {
    const cleanUps: CleanUp[] = (sharedCleanUps = []);
    try {
      thing = await make();
    } finally {
      sharedCleanUps = undefined;
    }
    return async () => {
      for (const cleanUp of cleanUps.reverse()) await cleanUp();
    };
  });
  return () => thing;
}

/** A schema that no other test uses; it is dropped when the test has finished. */
export function freshSchema(): string {
  const schema = `t_${randomUUID().replaceAll('-', '')}`;
  whenFinished(async () => {
    await sql(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`);
  });
  return schema;
}

/** Runs one statement on a connection of the test's own. */
export async function sql<Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> {
  const client = new Client({ connectionString: inject('databaseUrl') });
  await client.connect();
  try {
    return (await client.query(text, values)).rows as Row[];
  } finally {
    await client.end();
  }
}

export interface TestApp {
  readonly app: INestApplicationContext;
  readonly tasks: TaskQueue;
  readonly pool: WorkerPool;
  readonly events: TaskEvents;
  readonly schema: string;
}

/** Boots an application with the module and these providers; it is closed when the test has finished. */
export async function bootApp(
  providers: ModuleMetadata['providers'],
  options: BackieOptions = {},
  imports: ModuleMetadata['imports'] = [],
): Promise<TestApp> {
  const schema = options.schema ?? freshSchema();
  const backie = BackieModule.forRoot({
    ...(options.dataSource || options.store ? {} : { connection: inject('databaseUrl') }),
    ...options,
    schema,
  });
  const app = await bootModule(moduleOf(providers, [...imports, backie]));
  return { app, tasks: app.get(TaskQueue), pool: app.get(WorkerPool), events: app.get(TaskEvents), schema };
}

export function moduleOf(providers: ModuleMetadata['providers'], imports: ModuleMetadata['imports']): Type {
  class AppModule {}
  Module({ providers, imports })(AppModule);
  return AppModule;
}

export async function bootModule(module: Type): Promise<INestApplicationContext> {
  const testing = await Test.createTestingModule({ imports: [module] }).compile();
  testing.useLogger(false);
  // Closed before anything that the test registered earlier, the schema for instance, is cleaned up.
  whenFinished(() => testing.close());
  await testing.init();
  return testing;
}

/** The next `count` events of a kind, from now on. */
export function next<Kind extends TaskEventKind>(
  events: TaskEvents,
  kind: Kind,
  count = 1,
  matches: (event: TaskEventMap[Kind]) => boolean = () => true,
): Promise<TaskEventMap[Kind][]> {
  const observable = events[kind] as unknown as import('rxjs').Observable<TaskEventMap[Kind]>;
  return firstValueFrom(observable.pipe(filter(matches), take(count), toArray()));
}

/** Enqueues a task and waits until it is done. */
export async function runTask(
  { tasks, events }: Pick<TestApp, 'tasks' | 'events'>,
  ...[task, payload, options]: [task: BackgroundTaskClass | string, payload?: unknown, options?: EnqueueOptions]
): Promise<void> {
  const done = next(events, 'done');
  await tasks.enqueue(task as string, payload, options);
  await done;
}

/** How many rows a schema's table of live tasks holds. */
export async function liveTasks(schema: string): Promise<number> {
  const [row] = await sql<{ count: string }>(`SELECT count(*) FROM "${schema}".task`);
  return Number(row!.count);
}

/** A DataSource as an application has one; it is closed when the test has finished. */
export async function openDataSource(options: Partial<DataSourceOptions> = {}): Promise<DataSource> {
  const dataSource = new DataSource({ type: 'postgres', url: inject('databaseUrl'), ...options } as DataSourceOptions);
  await dataSource.initialize();
  whenFinished(() => dataSource.destroy());
  return dataSource;
}

/** An empty database of its own, for what schemas do not keep apart; it is dropped when the test has finished. */
export async function freshDatabase(): Promise<string> {
  const name = `t_${randomUUID().replaceAll('-', '')}`;
  await sql(`CREATE DATABASE ${name}`);
  whenFinished(() => sql(`DROP DATABASE ${name} WITH (FORCE)`));
  const url = new URL(inject('databaseUrl'));
  url.pathname = name;
  return url.href;
}
