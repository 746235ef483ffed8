import { BackgroundTask, type BackgroundTaskHandler, InvalidOptionsError, UnrecoverableTaskError } from 'nestjs-backie';
import { describe, expect, it, vi } from 'vitest';
import { bootApp, liveTasks, next, openDataSource, shared, sql } from '../../support/app.js';

interface Account {
  readonly id: number;
  readonly tags?: readonly string[];
  readonly owner?: object;
}

@BackgroundTask('by-payload', { unique: true })
class ByPayload implements BackgroundTaskHandler<Account> {
  run(): void {}
}

@BackgroundTask('by-payload-too', { unique: true })
class ByPayloadToo implements BackgroundTaskHandler<Account> {
  run(): void {}
}

@BackgroundTask('by-function', { unique: ({ id }: Account) => `account ${id}` })
class ByFunction implements BackgroundTaskHandler<Account> {
  run(): void {}
}

@BackgroundTask('bad-key', { unique: (payload: unknown) => payload as string })
class BadKey implements BackgroundTaskHandler {
  run(): void {}
}

@BackgroundTask('not-unique', { unique: false })
class NotUnique implements BackgroundTaskHandler<Account> {
  run(): void {}
}

@BackgroundTask('ends', { unique: (how: string) => how })
class Ends implements BackgroundTaskHandler<string> {
  run(how: string): void {
    if (how === 'failed') throw new UnrecoverableTaskError('as asked');
  }
}

const producer = shared(() => bootApp([ByPayload, ByPayloadToo, ByFunction, BadKey, NotUnique], { workers: false }));

describe('unique: true', () => {
  it('takes payloads for equal whatever the order of their keys, at any depth', async () => {
    const { tasks } = producer();
    const first = await tasks.enqueue(ByPayload, { id: 1, tags: ['a'], owner: { name: 'Ada', at: { x: 1, y: 2 } } });
    expect(first.duplicate).toBe(false);
    const second = await tasks.enqueue(ByPayload, { owner: { at: { y: 2, x: 1 }, name: 'Ada' }, tags: ['a'], id: 1 });
    expect(second).toEqual({ id: first.id, duplicate: true });
  });

  it.each<[string, Account, Account]>([
    ['another value', { id: 2 }, { id: 3 }],
    ['another order in an array', { id: 4, tags: ['a', 'b'] }, { id: 4, tags: ['b', 'a'] }],
    ['one more key', { id: 5 }, { id: 5, tags: [] }],
    ['another type', { id: 6 }, { id: '6' as never }],
    ['other nesting', { id: 7, owner: { a: { b: 1 } } }, { id: 7, owner: { a: {}, b: 1 } }],
  ])('tells payloads apart by %s', async (_, one, other) => {
    const { tasks } = producer();
    const results = [await tasks.enqueue(ByPayload, one), await tasks.enqueue(ByPayload, other)];
    expect(results.map(({ duplicate }) => duplicate)).toEqual([false, false]);
  });

  it('tells tasks and queues apart', async () => {
    const { tasks } = producer();
    const account = { id: 100 };
    const results = [
      await tasks.enqueue(ByPayload, account),
      await tasks.enqueue(ByPayloadToo, account),
      await tasks.enqueue(ByPayload, account, { queue: 'elsewhere' }),
    ];
    expect(results.map(({ duplicate }) => duplicate)).toEqual([false, false, false]);
  });
});

describe('a key', () => {
  it('is made of the payload by a function', async () => {
    const { tasks } = producer();
    const first = await tasks.enqueue(ByFunction, { id: 1, tags: ['a'] });
    expect((await tasks.find(first.id))?.uniqueKey).toBe('account 1');
    expect(await tasks.enqueue(ByFunction, { id: 1, tags: ['b'] })).toEqual({ id: first.id, duplicate: true });
    expect((await tasks.enqueue(ByFunction, { id: 2 })).duplicate).toBe(false);
  });

  it('is the one that the call gives, in place of the declared one', async () => {
    const { tasks } = producer();
    const first = await tasks.enqueue(ByFunction, { id: 3 }, { uniqueKey: 'given' });
    expect(await tasks.enqueue(ByFunction, { id: 4 }, { uniqueKey: 'given' })).toEqual({
      id: first.id,
      duplicate: true,
    });
    expect((await tasks.enqueue(ByFunction, { id: 3 })).duplicate).toBe(false);
    const other = await tasks.enqueue(NotUnique, { id: 3 }, { uniqueKey: 'given' });
    expect(other.duplicate).toBe(false);
    expect((await tasks.enqueue(NotUnique, { id: 4 }, { uniqueKey: 'given' })).id).toBe(other.id);
  });

  it('is compared to the letter and has up to 255 characters', async () => {
    const { tasks } = producer();
    const keys = ['k', 'K', 'k ', 'ḱ', 'x'.repeat(255), '€'.repeat(255)];
    for (const uniqueKey of keys) {
      expect((await tasks.enqueue(NotUnique, { id: 1 }, { uniqueKey })).duplicate).toBe(false);
    }
  });

  it.each<[string, unknown]>([
    ['empty', ''],
    ['longer than 255 characters', 'x'.repeat(256)],
    ['no string', 7],
    ['missing', undefined],
  ])('is refused when its function makes one that is %s', async (_, key) => {
    const { tasks, schema } = producer();
    const before = await liveTasks(schema);
    await expect(tasks.enqueue(BadKey, key)).rejects.toThrow(InvalidOptionsError);
    await expect(tasks.enqueueMany(BadKey, ['fine', key])).rejects.toThrow(/"bad-key"/);
    expect(await liveTasks(schema)).toBe(before);
  });
});

it('keeps the first of equal payloads in one enqueueMany, and tells each of its id', async () => {
  const { tasks } = producer();
  const earlier = await tasks.enqueue(ByFunction, { id: 1_000 });
  const results = await tasks.enqueueMany(
    ByFunction,
    [1_001, 1_000, 1_001, 1_002, 1_002].map((id) => ({ id })),
  );
  expect(results.map(({ duplicate }) => duplicate)).toEqual([false, true, true, false, true]);
  expect(results[1]!.id).toBe(earlier.id);
  expect(results[2]!.id).toBe(results[0]!.id);
  expect(results[4]!.id).toBe(results[3]!.id);
});

it('keeps the first of equal payloads however many stand between them', async () => {
  const { tasks } = producer();
  const payloads = Array.from({ length: 2_500 }, (_, index) => ({ id: 10_000 + (index % 2_000) }));
  const results = await tasks.enqueueMany(ByFunction, payloads);
  expect(results.filter(({ duplicate }) => duplicate)).toHaveLength(500);
  expect(results.slice(2_000).map(({ id }) => id)).toEqual(results.slice(0, 500).map(({ id }) => id));
});

it('says in its event that it is a duplicate, and of which task', async () => {
  const { tasks, events } = producer();
  const enqueued = next(events, 'enqueued', 2);
  const { id } = await tasks.enqueue(ByFunction, { id: 2_000 });
  await tasks.enqueue(ByFunction, { id: 2_000 });
  const ref = { id, name: 'by-function', queue: 'default' };
  expect(await enqueued).toEqual([
    { ...ref, duplicate: false },
    { ...ref, duplicate: true },
  ]);
});

it.each(['done', 'failed', 'cancelled'] as const)('is not blocked by a %s task that is kept', async (state) => {
  const { tasks, events, pool } = await bootApp([Ends], {
    workers: state !== 'cancelled',
    queues: [{ name: 'default', retention: 'keepAll' }],
  });
  const ended = state === 'cancelled' ? undefined : next(events, state);
  const first = await tasks.enqueue(Ends, state);
  if (ended) await ended;
  else await tasks.cancel(first.id);
  await pool.drain();
  expect(await tasks.find(first.id)).toMatchObject({ state, uniqueKey: state });
  const second = await tasks.enqueue(Ends, state);
  expect(second.duplicate).toBe(false);
  expect(await tasks.counts()).toMatchObject({ ready: 1, [state]: 1 });
});

it('takes the place of a holder that goes while it is being looked for', async () => {
  const { tasks } = producer();
  const dataSource = await openDataSource();
  const holder = await tasks.enqueue(ByFunction, { id: 3_000 });
  const result = await dataSource.transaction(async (manager) => {
    const query = manager.query.bind(manager);
    vi.spyOn(manager, 'query').mockImplementation(async (text, values) => {
      const rows = await query(text, values);
      if (/INSERT INTO/.test(text)) await tasks.remove(holder.id);
      return rows;
    });
    return tasks.enqueue(ByFunction, { id: 3_000 }, { manager });
  });
  expect(result.duplicate).toBe(false);
  expect(await tasks.find(result.id)).toMatchObject({ state: 'ready', uniqueKey: 'account 3000' });
});

describe('50 clients that race for one key leave one task, and every loser learns its id,', () => {
  it.each(['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const)(
    'in %s transactions whose first holder rolls back',
    async (level) => {
      const { tasks, schema } = await bootApp([ByFunction], { workers: false });
      const applicationName = `racer ${schema}`.slice(0, 60);
      const dataSource = await openDataSource({ poolSize: 51, applicationName });
      const holder = dataSource.createQueryRunner();
      await holder.startTransaction();
      await tasks.enqueue(ByFunction, { id: 1 }, { manager: holder.manager });

      const race = Array.from({ length: 50 }, () =>
        dataSource.transaction(level, async (manager) => {
          await tasks.enqueue(NotUnique, { id: 1 }, { manager });
          return tasks.enqueue(ByFunction, { id: 1 }, { manager });
        }),
      );
      const waiting = () =>
        sql(`SELECT FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'`, [applicationName]);
      while ((await waiting()).length < 50);
      await holder.rollbackTransaction();
      await holder.release();

      const results = await Promise.all(race);
      const live = await sql<{ id: string }>(`SELECT id FROM "${schema}".task WHERE name = 'by-function'`);
      expect(live).toHaveLength(1);
      expect(results.filter(({ duplicate }) => !duplicate)).toEqual([{ id: live[0]!.id, duplicate: false }]);
      expect(results.filter(({ id, duplicate }) => duplicate && id === live[0]!.id)).toHaveLength(49);
      expect(await liveTasks(schema)).toBe(51);
    },
  );

  it('in processes of their own', async () => {
    const { schema } = await bootApp([ByFunction], { workers: false });
    const apps = await Promise.all(Array.from({ length: 10 }, () => bootApp([ByFunction], { schema, workers: false })));
    const race = apps.flatMap(({ tasks }) => Array.from({ length: 5 }, () => tasks.enqueue(ByFunction, { id: 1 })));
    const results = await Promise.all(race);
    expect(new Set(results.map(({ id }) => id)).size).toBe(1);
    expect(results.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
    expect(await liveTasks(schema)).toBe(1);
  });
});
