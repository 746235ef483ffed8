import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { randomBytes } from 'node:crypto';
import { expect, inject, it } from 'vitest';
import { leaseOf, newTask } from '../../contract/task-store.fixtures.js';
import { whenFinished } from '../../support/app.js';
import { connected } from '../../support/own-server.js';
import { until } from '../../support/tasks.js';

const inASecond = `clock_timestamp() + interval '1 second'`;

it('gives a token that comes back while a claim is under way to the highest priority that is due by then', async () => {
  const connection = inject('databaseUrl');
  const schema = `moment_${randomBytes(6).toString('hex')}`;
  const store = new TypeOrmTaskStore({ connection, schema });
  await store.open();
  const client = await connected(connection);
  const other = await connected(connection);
  whenFinished(async () => {
    await store.close();
    await client.query(`DROP SCHEMA ${schema} CASCADE`);
    await Promise.all([client.end(), other.end()]);
  });
  const queue = 'default';
  await store.control.declare({
    queues: new Map(),
    tasks: new Map([['work', { queue, rateLimit: { max: 1, perMs: 60_000 } }]]),
  });
  const { workerId } = await leaseOf(store, [queue]);
  const claim = async () => {
    const { tasks } = await store.claimLimited({ workerId, queue, names: ['work'], limit: 10 });
    return tasks.map(({ id }) => id);
  };
  const add = async (priority: number) => (await store.enqueue([newTask({ queue, name: 'work', priority })]))[0].id;
  await add(0);
  expect(await claim()).toHaveLength(1);
  const [low, high] = [await add(0), await add(5)];
  // Both the token and the task of the higher priority are to come while the claim waits for the bucket.
  await client.query(`UPDATE ${schema}.rate_bucket SET taken_at = ARRAY[${inASecond} - interval '1 minute']`);
  await client.query(`UPDATE ${schema}.task SET scheduled_at = ${inASecond} WHERE id = $1`, [high]);
  const [{ pid }] = (await other.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows;
  await other.query('BEGIN');
  await other.query(`SELECT FROM ${schema}.rate_bucket FOR UPDATE`);
  const claimed = claim();
  const is = async (condition: string) => (await client.query<{ is: boolean }>(`SELECT ${condition} AS is`)).rows[0].is;
  await until(
    () => is(`EXISTS (SELECT FROM pg_stat_activity WHERE ${pid} = ANY(pg_blocking_pids(pid)))`),
    (waits) => waits,
  );
  await until(
    () => is(`NOT EXISTS (SELECT FROM ${schema}.task WHERE scheduled_at > clock_timestamp())`),
    (due) => due,
  );
  await other.query('COMMIT');
  expect(await claimed).toEqual([]);
  expect(await claim()).toEqual([high]);
  expect((await store.find(low))?.state).toBe('ready');
});
