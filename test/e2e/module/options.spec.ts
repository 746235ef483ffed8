import {
  Backoff,
  BackgroundTask,
  type BackgroundTaskHandler,
  InvalidOptionsError,
  MemoryTaskStore,
} from 'nestjs-backie';
import { DataSource } from 'typeorm';
import { describe, expect, inject, it } from 'vitest';
import { type BackieOptions, bootApp, freshSchema, runTask, sql, whenFinished } from '../../support/app.js';

const awkward = `a'b"c;--%s$1 ünï`;

/** Options as somebody may type them whom no compiler helps. */
function boot(options: object) {
  return bootApp([], options as BackieOptions);
}

describe('an option that does not exist is named, with the one that was probably meant:', () => {
  it.each<[string, object, RegExp]>([
    ['of the module', { heartbeatsMs: 1_000 }, /BackieModule: there is no option "heartbeatsMs".*"heartbeatMs"\?/],
    ['of the module, another', { queue: [] }, /"queue".*"queues"\?/],
    ['that shapes the module', { isGlobl: false }, /"isGlobl".*"isGlobal"\?/],
    ['in other upper and lower case', { leasems: 30_000 }, /"leasems".*"leaseMs"\?/],
    ['of a queue', { queues: [{ name: 'email', concurency: 2 }] }, /queue "email": .*"concurency".*"concurrency"\?/],
    ['of the defaults', { defaults: { maxRetrys: 1 } }, /defaults: .*"maxRetrys".*"maxRetries"\?/],
    ['of the embedded PostgreSQL', { embedded: { datadir: '.' } }, /embedded: .*"datadir".*"dataDir"\?/],
    ['like none that does', { colour: 'red' }, /"colour"\. Options: .*leaseMs/],
    ['by the name of a property of every object', { constructor: 1 }, /there is no option "constructor"/],
  ])('%s', async (_, options, message) => {
    await expect(boot(options)).rejects.toThrow(InvalidOptionsError);
    await expect(boot(options)).rejects.toThrow(message);
  });
});

describe('an option that does not fit is refused, and named:', () => {
  const queue = (options: object) => ({ queues: [{ name: 'email', ...options }] });

  it.each<[string, object]>([
    ['heartbeatMs', { leaseMs: 10_000, heartbeatMs: 5_001 }],
    ['heartbeatMs', { heartbeatMs: 15_001 }],
    ['heartbeatMs', { heartbeatMs: Number.NaN }],
    ['leaseMs', { leaseMs: 99 }],
    ['leaseMs', { leaseMs: '30s' }],
    ['shutdownGraceMs', { shutdownGraceMs: -1 }],
    ['maxCrashes', { maxCrashes: 0 }],
    ['maxPayloadBytes', { maxPayloadBytes: 0.5 }],
    ['connectTimeoutMs', { connectTimeoutMs: Number.POSITIVE_INFINITY }],
    ['workers', { workers: 'no' }],
    ['migrations', { migrations: 'auto' }],
    ['schema', { schema: 's'.repeat(64) }],
    ['schema', { schema: 'ü'.repeat(32) }],
    ['schema', { schema: 'pg_tasks' }],
    ['schema', { schema: 'a\0b' }],
    ['schema', { schema: '' }],
    ['connection', { connection: '' }],
    ['connection', { connection: 5_432 }],
    ['driver', { connection: { type: 'mysql' } }],
    ['dataSource', { dataSource: 'default', connection: undefined }],
    ['queues', { queues: 'email' }],
    ['queues', { queues: [null] }],
    ['queues', { queues: [{}] }],
    ['queues', queue({ name: '' })],
    ['queues', queue({ name: 'q'.repeat(129) })],
    ['queues', queue({ name: 'a\0b' })],
    ['concurrency', queue({ concurrency: 0 })],
    ['concurrency', queue({ concurrency: 1.5 })],
    ['concurrency', queue({ concurrency: Number.NaN })],
    ['pollIntervalMs', queue({ pollIntervalMs: 0 })],
    ['retention', queue({ retention: 'keepDone' })],
    ['executionTimeoutMs', queue({ executionTimeoutMs: 0 })],
    ['backoff', { defaults: { backoff: 1_000 } }],
    ['priority', { defaults: { priority: 32_768 } }],
    ['defaults', { defaults: null }],
  ])('%s in %o', async (name, options) => {
    await expect(boot(options)).rejects.toThrow(InvalidOptionsError);
    await expect(boot(options)).rejects.toThrow(name);
  });
});

it('refuses two queues of one name', async () => {
  const options = { queues: [{ name: 'email' }, { name: 'email', concurrency: 2 }] };
  await expect(bootApp([], options)).rejects.toThrow(InvalidOptionsError);
  await expect(bootApp([], options)).rejects.toThrow(/"email" is configured twice/);
});

it.each([
  ['dataSource or connection', { connection: 'postgres://localhost/a', dataSource: true }],
  ['connection or store', { connection: 'postgres://localhost/a', store: true }],
  ['dataSource or store', { dataSource: true, store: true }],
])(
  'refuses more than one place for the tasks: %s',
  async (given, { connection, ...wanted }: Record<string, unknown>) => {
    const dataSource = new DataSource({ type: 'postgres', url: inject('databaseUrl') });
    const options = {
      ...(connection ? { connection } : {}),
      ...('dataSource' in wanted && { dataSource }),
      ...('store' in wanted && { store: new MemoryTaskStore() }),
    };
    await expect(boot(options)).rejects.toThrow(InvalidOptionsError);
    await expect(boot(options)).rejects.toThrow(`give either ${given}, not both`);
  },
);

it('allows a heartbeat of half the lease', async () => {
  const { pool } = await bootApp([], { leaseMs: 10_000, heartbeatMs: 5_000 });
  expect(pool.status().state).toBe('running');
});

it('works with a schema, a queue, a task and a key whose names are full of metacharacters', async () => {
  @BackgroundTask(awkward, { queue: awkward })
  class Awkward implements BackgroundTaskHandler<string> {
    readonly runs: [string, string][] = [];

    run(payload: string, { name, queue }: { name: string; queue: string }): void {
      this.runs.push([name, queue]);
    }
  }
  const schema = `${awkward} ${freshSchema().slice(0, 20)}`;
  whenFinished(() => sql(`DROP SCHEMA "${schema.replaceAll('"', '""')}" CASCADE`));
  const app = await bootApp([Awkward], { schema, queues: [{ name: awkward }] });
  await runTask(app, Awkward, awkward, { uniqueKey: awkward });
  expect(app.app.get(Awkward).runs).toEqual([[awkward, awkward]]);

  const { id } = await app.tasks.enqueue(Awkward, awkward, { delayMs: 60_000, uniqueKey: awkward });
  expect(await app.tasks.enqueue(Awkward, awkward, { uniqueKey: awkward })).toEqual({ id, duplicate: true });
  const { tasks } = await app.tasks.list({ queue: awkward, name: awkward, uniqueKey: awkward });
  expect(tasks.map((task) => task.id)).toEqual([id]);
  expect(await app.tasks.counts(awkward)).toMatchObject({ ready: 1 });
});

describe('@BackgroundTask refuses, when the class is declared,', () => {
  it.each<[string, unknown, unknown, RegExp]>([
    ['an empty name', '', {}, /name in @BackgroundTask\(\)/],
    ['a name of 300 characters', 'n'.repeat(300), {}, /1 to 128 characters/],
    ['a name with NUL', 'a\0b', {}, /PostgreSQL can store/],
    ['a name with half a surrogate pair', 'a\ud800', {}, /PostgreSQL can store/],
    ['a name that is no string', 7, {}, /not 7/],
    ['a transaction that is neither', 'note', { transactional: 'yes' }, /transactional must be true, false or/],
    ['a level that is none', 'note', { transactional: { isolation: 'DIRTY' } }, /isolation.+"READ COMMITTED".+"DIRTY"/],
    ['a transaction with more', 'note', { transactional: { level: 1 } }, /transactional: .+"level".+isolation/],
    [
      'an option that does not exist',
      'note',
      { retries: 3 },
      /@BackgroundTask\("note"\): there is no option "retries"/,
    ],
    ['a typo, which it names', 'note', { prioritiy: 3 }, /"prioritiy".*"priority"\?/],
    ['options that are no object', 'note', 'email', /options must be an object/],
    ['a negative number of retries', 'note', { maxRetries: -1 }, /maxRetries/],
    ['half a retry', 'note', { maxRetries: 0.5 }, /maxRetries/],
    ['no time at all', 'note', { timeoutMs: 0 }, /timeoutMs/],
    ['a timeout longer than timers wait', 'note', { timeoutMs: 2 ** 31 }, /timeoutMs/],
    ['a priority out of range', 'note', { priority: -32_769 }, /priority/],
    ['a backoff that is none', 'note', { backoff: 'exponential' }, /backoff/],
    ['a key that is no function', 'note', { unique: 'id' }, /unique/],
    ['a schema that is no validator', 'note', { schema: { type: 'object' } }, /schema/],
    ['an empty queue', 'note', { queue: '' }, /queue/],
  ])('%s', (_, name, options, message) => {
    const declare = () => BackgroundTask(name as string, options as object);
    expect(declare).toThrow(InvalidOptionsError);
    expect(declare).toThrow(message);
  });

  it.each([
    ['waits less than nothing', () => Backoff.fixed(-1)],
    ['waits NaN', () => Backoff.linear(Number.NaN)],
    ['shrinks', () => Backoff.exponential({ factor: 0.5 })],
  ])('a backoff that %s', (_, declare) => {
    expect(declare).toThrow(InvalidOptionsError);
  });
});
