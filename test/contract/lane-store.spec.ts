import { MemoryTaskStore } from 'nestjs-backie';
import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { until } from '../support/tasks.js';
import { describeLaneStore } from './lane-store.contract.js';
import { leaseOf, mortal, newTask } from './task-store.fixtures.js';

describeLaneStore('the concurrency keys of MemoryTaskStore', async () => {
  let aheadMs = 0;
  const store = new MemoryTaskStore({ now: () => Date.now() + aheadMs });
  await store.open();
  return {
    store,
    async expireLease() {
      aheadMs += mortal.leaseMs;
    },
    async passTime(_queue, ms) {
      aheadMs += ms;
    },
    dispose: () => store.close(),
  };
});

const connection = inject('databaseUrl');
const schema = `lanes_${randomBytes(6).toString('hex')}`;
const client = new Client({ connectionString: connection });

beforeAll(() => client.connect());
afterAll(async () => {
  await client.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
  await client.end();
});

describeLaneStore('the concurrency keys of TypeOrmTaskStore', async () => {
  const store = new TypeOrmTaskStore({ connection, schema });
  await store.open();
  return {
    store,
    async expireLease(workerId) {
      await client.query(`UPDATE ${schema}.worker SET lease_until = now() - interval '1 second' WHERE id = $1`, [
        workerId,
      ]);
    },
    async passTime(queue, ms) {
      for (const time of ['scheduled_at', 'due_at']) {
        await client.query(
          `UPDATE ${schema}.task SET ${time} = ${time} - make_interval(secs => $2::float8 / 1000)
           WHERE queue = $1 AND ${time} > now() AND ${time} < 'infinity'`,
          [queue, ms],
        );
      }
    },
    dispose: () => store.close(),
    racing: true,
  };
});

describe('admission in PostgreSQL', () => {
  /** Three tasks that are parked though their lane is free, and how to admit to it on the test's own connection. */
  async function setUp(queue: string, laneLimit = 1) {
    const store = new TypeOrmTaskStore({ connection, schema });
    await store.open();
    const lane = { queue, name: 'work', key: 'a' };
    await store.lanes.pause(lane);
    const tasks = Array.from({ length: 3 }, () => newTask({ queue, lane: 'a', laneLimit }));
    await store.enqueue(tasks);
    await client.query(`DELETE FROM ${schema}.paused_lane`);
    const { workerId } = await leaseOf(store, [queue]);
    const admitHere = () =>
      client.query(`SELECT * FROM ${schema}.admit_lanes(ARRAY[$1], ARRAY['work'], ARRAY['a'])`, [queue]);
    const claim = async () => {
      const claimed = await store.claim({ workerId, queue, names: ['work'], limit: 9 });
      return claimed.map(({ id }) => id);
    };
    return { store, lane, ids: tasks.map(({ id }) => id), admitHere, claim };
  }

  it('waits for one of the same lane that has not committed yet, and then counts what that has admitted', async () => {
    const { store, lane, ids, admitHere, claim } = await setUp('serial');
    await client.query('BEGIN');
    await admitHere();
    const progress = { finished: false };
    const admitting = store.lanes.admit([lane]).finally(() => {
      progress.finished = true;
    });
    const waits = async () => {
      const { rows } = await client.query<{ waits: boolean }>(
        `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))) AS waits`,
      );
      return rows[0].waits;
    };
    // Until it waits, or has finished though it should not.
    await until(waits, (waiting) => waiting || progress.finished);
    await client.query('COMMIT');
    await admitting;
    expect(await claim()).toEqual([ids[0]]);
    await store.close();
  });

  it('waits for no transaction that holds a task, and takes the next one', async () => {
    const { store, lane, ids, claim } = await setUp('held', 2);
    await client.query('BEGIN');
    await client.query(`SELECT FROM ${schema}.task WHERE id = $1 FOR UPDATE`, [ids[0]]);
    await store.lanes.admit([lane]);
    expect(await claim()).toEqual(ids.slice(1));
    await client.query('COMMIT');
    expect(await claim()).toEqual([]);
    await store.close();
  });

  it('refuses a transaction that sees an old snapshot, in which it could not count', async () => {
    const { store, admitHere, claim } = await setUp('snapshot');
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await expect(admitHere()).rejects.toThrow(
      'need transactions that are READ COMMITTED, but they are REPEATABLE READ',
    );
    await client.query('ROLLBACK');
    expect(await claim()).toEqual([]);
    await store.close();
  });
});
