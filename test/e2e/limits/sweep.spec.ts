import { expect, inject, it } from 'vitest';
// How buckets are swept is nobody's API.
import { controlSql } from '../../../dist/typeorm/control.sql.js';
import { TypeOrmControlStore } from '../../../dist/typeorm/typeorm-control-store.js';
import { MemoryControl } from '../../../dist/memory/memory-control.js';
import { bootApp, sql } from '../../support/app.js';
import { connected } from '../../support/own-server.js';
import { until } from '../../support/tasks.js';

const minuteMs = 60_000;

it('sweeps away all buckets that are full, also when nothing is limited any more, and then sends no sweep', async () => {
  const { schema } = await bootApp([], { workers: false });
  const addBuckets = (count: number, fullAt: string) =>
    sql(
      `INSERT INTO "${schema}".rate_bucket (kind, name, key, full_at)
       SELECT 'task', 'gone', i || $2::text, $2::timestamptz FROM generate_series(1, $1::int) i`,
      [count, fullAt],
    );
  await addBuckets(25_000, '2020-01-01');
  await addBuckets(1, 'infinity');
  const left = async () => {
    const [{ count }] = await sql<{ count: number }>(`SELECT count(*)::int AS count FROM "${schema}".rate_bucket`);
    return count;
  };
  const client = await connected(inject('databaseUrl'));
  const statements = Object.fromEntries(
    Object.entries(controlSql(schema)).map(([name, text]) => [name, { name, text }]),
  ) as ConstructorParameters<typeof TypeOrmControlStore>[0];
  let [now, sweeps] = [0, 0];
  let swept = Promise.resolve();
  const store = new TypeOrmControlStore(
    statements,
    async ({ name, text }, values) => {
      const answer = client.query<(string | null)[]>({
        text,
        values: [...values],
        rowMode: 'array',
        types: { getTypeParser: () => String },
      });
      if (name === 'controlSweep') {
        sweeps++;
        swept = answer.then(() => {});
      }
      return (await answer).rows;
    },
    () => now,
  );
  const pass = async () => {
    now += minuteMs;
    await store.read();
    await swept;
  };
  await store.read();
  expect(sweeps).toBe(0);
  await pass();
  expect(await until(left, (count) => count === 1)).toBe(1);
  expect(sweeps).toBe(3);
  // One that is in use is looked at again.
  await sql(`UPDATE "${schema}".rate_bucket SET full_at = '2020-01-01'`);
  await pass();
  await until(left, (count) => count === 0);
  await pass();
  const enough = sweeps;
  await pass();
  expect(sweeps).toBe(enough);
});

it('sweeps away the buckets of a process that keeps its tasks in memory', async () => {
  let now = 0;
  const control = new MemoryControl(
    () => now,
    () => {},
  );
  const { buckets } = control as unknown as { buckets: Map<string, unknown> };
  const rateLimit = { max: 1, perMs: 1_000 };
  const take = (rateKey: number) =>
    control.admission('default', 0).admits({ name: 'work', rateKey: String(rateKey) } as never);
  await control.declare({ queues: new Map(), tasks: new Map([['work', { queue: 'default', rateLimit }]]) });
  for (let key = 0; key < 1_000; key++) expect(take(key)).toBe(true);
  expect(buckets.size).toBe(1_000);
  now = minuteMs - 500;
  expect(take(0)).toBe(true);
  now = minuteMs;
  expect(take(1)).toBe(true);
  expect(buckets.size).toBe(2);
  // The one that was in use is not given anew.
  expect(take(0)).toBe(false);
  await control.forgetTaskLimit('work');
  now += minuteMs;
  await control.read();
  expect(buckets.size).toBe(0);
});
