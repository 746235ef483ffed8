import { BackgroundTask, type BackgroundTaskHandler, InvalidOptionsError, InvalidPayloadError } from 'nestjs-backie';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { bootApp, liveTasks, next, openDataSource, shared, sql } from '../../support/app.js';

@BackgroundTask('count')
class Count implements BackgroundTaskHandler<number> {
  readonly counted: number[] = [];

  run(payload: number): void {
    this.counted.push(payload);
  }
}

@BackgroundTask('blob')
class Blob implements BackgroundTaskHandler<string> {
  run(): void {}
}

@BackgroundTask('checked', { schema: z.number() })
class Checked implements BackgroundTaskHandler<number> {
  run(): void {}
}

const producer = shared(() => bootApp([Count, Blob, Checked], { workers: false }));
const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);

it('stores 10,000 payloads in one transaction and gives their ids in input order', async () => {
  const { tasks, schema } = producer();
  const results = await tasks.enqueueMany(Count, numbers(10_000));
  const rows = await sql<{ id: string; payload: number; xmin: string }>(
    `SELECT id, payload, xmin::text FROM "${schema}".task WHERE name = 'count' ORDER BY payload::int`,
  );
  expect(results.map(({ id }) => id)).toEqual(rows.map(({ id }) => id));
  expect(rows.map(({ payload }) => payload)).toEqual(numbers(10_000));
  expect(new Set(rows.map(({ xmin }) => xmin)).size).toBe(1);
  expect(results.every(({ duplicate }) => !duplicate)).toBe(true);
});

it('makes ids that sort in input order', async () => {
  const ids = (await producer().tasks.enqueueMany(Count, numbers(2_000))).map(({ id }) => id);
  expect(ids.toSorted()).toEqual(ids);
});

it('runs each of them once', async () => {
  const { app, tasks, events } = await bootApp([Count], { queues: [{ name: 'default', concurrency: 100 }] });
  const done = next(events, 'done', 2_500);
  const enqueued = next(events, 'enqueued', 2_500);
  const results = await tasks.enqueueMany(Count, numbers(2_500));
  expect((await enqueued).map(({ id }) => id)).toEqual(results.map(({ id }) => id));
  await done;
  expect(app.get(Count).counted.toSorted((a, b) => a - b)).toEqual(numbers(2_500));
});

it('stores payloads that are too big for one statement together', async () => {
  const { tasks, schema } = producer();
  const results = await tasks.enqueueMany(
    Blob,
    numbers(20).map((index) => String.fromCharCode(97 + index).repeat(1024 * 1024 - 2)),
  );
  const rows = await sql<{ id: string; first: string; length: number; xmin: string }>(
    `SELECT id, left(payload #>> '{}', 1) AS first, length(payload #>> '{}') AS length, xmin::text
     FROM "${schema}".task WHERE name = 'blob' ORDER BY 2`,
  );
  expect(rows.map(({ id }) => id)).toEqual(results.map(({ id }) => id));
  expect(new Set(rows.map(({ length }) => length))).toEqual(new Set([1024 * 1024 - 2]));
  expect(new Set(rows.map(({ xmin }) => xmin)).size).toBe(1);
});

it('stores none when the database refuses one of the last', async () => {
  const { tasks, schema, events } = await bootApp([Count], { workers: false });
  await sql(`ALTER TABLE "${schema}".task ADD CHECK (payload <> '2400')`);
  let announced = 0;
  events.enqueued.subscribe(() => announced++);
  await expect(tasks.enqueueMany(Count, numbers(2_500))).rejects.toThrow(/check/);
  expect(await liveTasks(schema)).toBe(0);
  expect(announced).toBe(0);
  await tasks.enqueueMany(Count, numbers(2_400));
  expect(await liveTasks(schema)).toBe(2_400);
});

it('stores none when one payload is bad', async () => {
  const { tasks, schema } = await bootApp([Count], { workers: false });
  await expect(tasks.enqueueMany(Count, [...numbers(1_500), Number.NaN])).rejects.toThrow(InvalidPayloadError);
  expect(await liveTasks(schema)).toBe(0);
});

it("stores all or none of many in the caller's transaction", async () => {
  const { tasks, schema } = await bootApp([Count], { workers: false });
  const dataSource = await openDataSource();
  const failing = dataSource.transaction(async (manager) => {
    await tasks.enqueueMany(Count, numbers(2_500), { manager });
    throw new Error('changed my mind');
  });
  await expect(failing).rejects.toThrow('changed my mind');
  expect(await liveTasks(schema)).toBe(0);
  const results = await dataSource.transaction((manager) => tasks.enqueueMany(Count, numbers(2_500), { manager }));
  expect(results).toHaveLength(2_500);
  expect(await liveTasks(schema)).toBe(2_500);
});

it('takes one set of options for all', async () => {
  const { tasks } = producer();
  const scheduledAt = new Date('2035-01-01T00:00:00.000Z');
  const options = { queue: 'elsewhere', priority: 3, maxRetries: 1, timeoutMs: 9, scheduledAt };
  for (const { id } of await tasks.enqueueMany(Count, [1, 2], options)) {
    expect(await tasks.find(id)).toMatchObject(options);
  }
});

it('stores nothing for no payloads', async () => {
  const { tasks, schema } = producer();
  const before = await liveTasks(schema);
  expect(await tasks.enqueueMany(Count, [])).toEqual([]);
  expect(await liveTasks(schema)).toBe(before);
});

it('stores the payloads that it was called with, whatever becomes of the array', async () => {
  const { tasks } = producer();
  for (const Task of [Count, Checked]) {
    const payloads = [1, 2, 3];
    const enqueued = tasks.enqueueMany(Task, payloads);
    payloads.length = 0;
    expect(await enqueued).toHaveLength(3);
  }
});

it.each([
  ['no array', 'abc'],
  ['an iterator', new Set([1])],
  ['nothing', undefined],
])('refuses %s in place of the payloads', async (_, payloads) => {
  await expect(producer().tasks.enqueueMany('count', payloads as never)).rejects.toThrow(InvalidOptionsError);
});

it('refuses one unique key for all of them', async () => {
  await expect(producer().tasks.enqueueMany(Count, [1, 2], { uniqueKey: 'one' } as object)).rejects.toThrow(
    /enqueueMany: there is no option "uniqueKey"/,
  );
});
