import { MemoryTaskStore } from 'nestjs-backie';
import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
// It is nobody's API, but the order of the locks goes by it.
import { laneLocks } from '../../dist/typeorm/migrations/admit-lanes.function.js';
import { until } from '../support/tasks.js';
import { describeLaneStore } from './lane-store.contract.js';
import { hourMs, leaseOf, mortal, newTask } from './task-store.fixtures.js';

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

  /** Whether somebody waits for the test's own transaction. */
  const waits = async () => {
    const { rows } = await client.query<{ waits: boolean }>(
      `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))) AS waits`,
    );
    return rows[0].waits;
  };

  it('waits for one of the same lane that has not committed yet, and then counts what that has admitted', async () => {
    const { store, lane, ids, admitHere, claim } = await setUp('serial');
    await client.query('BEGIN');
    await admitHere();
    const progress = { finished: false };
    const admitting = store.lanes.admit([lane]).finally(() => {
      progress.finished = true;
    });
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

  it('takes the locks of many lanes in one order, however they are named', async () => {
    const { store } = await setUp('locks');
    const lock = `abs(mod(hashtextextended('locks:work:' || k, 0), ${laneLocks}))::integer`;
    const { rows } = await client.query<{ key: string; bucket: number }>(
      `SELECT k AS key, ${lock} AS bucket FROM unnest(ARRAY['a', 'b']) k ORDER BY 2`,
    );
    const [first, second] = rows;
    expect(first.bucket).toBeLessThan(second.bucket);
    const lanes = rows.map(({ key }) => ({ queue: 'locks', name: 'work', key }));
    const other = new Client({ connectionString: connection });
    await other.connect();
    for (const named of [lanes, lanes.toReversed()]) {
      await client.query('BEGIN');
      await client.query(`SELECT FROM ${schema}.lane_lock WHERE bucket = $1 FOR UPDATE`, [first.bucket]);
      const admitting = store.lanes.admit(named);
      await until(waits, Boolean);
      // Whoever waits for the first has not got the second.
      const free = await other.query(`SELECT FROM ${schema}.lane_lock WHERE bucket = $1 FOR UPDATE SKIP LOCKED`, [
        second.bucket,
      ]);
      expect(free.rowCount).toBe(1);
      await client.query('COMMIT');
      await admitting;
    }
    await other.end();
    await store.close();
  });

  it('moves so many tasks of a wide lane a call, says that there are more, and parks them so too', async () => {
    const { store, lane, admitHere, claim } = await setUp('wide', 100_000);
    await client.query(
      `INSERT INTO ${schema}.task (id, queue, name, payload, lane, lane_limit, scheduled_at, due_at)
       SELECT gen_random_uuid(), 'wide', 'work', '{}', 'a', 100000, 'infinity', now() FROM generate_series(1, 1200)`,
    );
    const admitted = async () => {
      const { rows } = await client.query<{ count: number }>(
        `SELECT count(*)::int FROM ${schema}.task WHERE queue = 'wide' AND due_at IS NULL`,
      );
      return rows[0].count;
    };
    expect((await admitHere()).rows).toEqual([{ admitted_on: 'wide', due_in_ms: 0, more: true }]);
    expect(await admitted()).toBe(500);
    await store.lanes.admit([lane]);
    expect(await admitted()).toBe(1_203);
    await store.lanes.pause(lane);
    expect(await admitted()).toBe(0);
    expect(await claim()).toEqual([]);
    await store.close();
  });

  it('stops at who has another limit, and goes on by that', async () => {
    const { store, lane, ids, claim } = await setUp('mixed', 3);
    await store.lanes.pause(lane);
    const narrow = newTask({ queue: 'mixed', lane: 'a', laneLimit: 2 });
    const wide = newTask({ queue: 'mixed', lane: 'a', laneLimit: 3 });
    await store.enqueue([narrow, wide]);
    await client.query(`DELETE FROM ${schema}.task WHERE id = ANY($1)`, [ids.slice(1)]);
    await store.lanes.resume(lane);
    expect(await claim()).toEqual([ids[0], narrow.id, wide.id]);
    await store.close();
  });

  it('is taken back by a sweep from what got its place beside the pause of its lane', async () => {
    const { store, ids, admitHere } = await setUp('admitted beside a pause');
    await admitHere();
    const parked = async () => {
      const { rows } = await client.query<{ id: string }>(
        `SELECT id FROM ${schema}.task WHERE queue = 'admitted beside a pause' AND due_at IS NOT NULL ORDER BY id`,
      );
      return rows.map(({ id }) => id);
    };
    expect(await parked()).toHaveLength(2);
    await client.query(
      `INSERT INTO ${schema}.paused_lane (queue, name, lane) VALUES ('admitted beside a pause', 'work', 'a')`,
    );
    await store.lanes.sweep();
    expect(await parked()).toEqual(ids.toSorted());
    await store.close();
  });

  it('is made good by a sweep when one that was sent on is in the way of one that is due', async () => {
    const { store, ids, admitHere, claim } = await setUp('sent on');
    await admitHere();
    await client.query(`UPDATE ${schema}.task SET scheduled_at = now() + interval '1 hour' WHERE id = $1`, [ids[0]]);
    await store.lanes.sweep();
    expect(await claim()).toEqual([ids[1]]);
    await store.close();
  });

  it('is made good by a sweep that goes by the limit of who comes next', async () => {
    const { store, lane, ids, admitHere, claim } = await setUp('limits');
    await admitHere();
    expect(await claim()).toEqual([ids[0]]);
    await store.lanes.pause(lane);
    const next = newTask({ queue: 'limits', lane: 'a', laneLimit: 2, priority: 5 });
    const delayed = newTask({ queue: 'limits', lane: 'a', laneLimit: 1, priority: 9, due: { inMs: hourMs } });
    await store.enqueue([delayed, next]);
    await client.query(`DELETE FROM ${schema}.paused_lane`);
    await store.lanes.sweep();
    expect(await claim()).toEqual([next.id]);
    await store.close();
  });

  it('has tasks found that are due before those that were claimed last', async () => {
    const store = new TypeOrmTaskStore({ connection, schema });
    await store.open();
    const queue = 'floor';
    const lane = { queue, name: 'work', key: 'a' };
    const dueAt = (ms: number) => ({ at: new Date(1_700_000_000_000 + ms) });
    await store.lanes.pause(lane);
    const [plain, , keyed] = await store.enqueue([
      newTask({ queue, due: dueAt(1) }),
      newTask({ queue, due: dueAt(2) }),
      newTask({ queue, due: dueAt(0), lane: 'a' }),
    ]);
    const { workerId } = await leaseOf(store, [queue]);
    const claimOne = async () =>
      (await store.claim({ workerId, queue, names: ['work'], limit: 1 })).map(({ id }) => id);
    // So slow a claim has the next ones begin where it has ended.
    await client.query('BEGIN');
    await client.query(`LOCK TABLE ${schema}.worker IN ACCESS EXCLUSIVE MODE`);
    const slow = claimOne();
    await until(waits, Boolean);
    const quickest = performance.now() + 50;
    await until(
      async () => performance.now(),
      (at) => at > quickest,
    );
    await client.query('COMMIT');
    expect(await slow).toEqual([plain.id]);
    await store.lanes.resume(lane);
    expect(await claimOne()).toEqual([keyed.id]);
    await store.close();
  });

  it('is not needed for what a pause parks that goes back from a worker that died', async () => {
    const { store, lane, ids, admitHere, claim } = await setUp('died');
    await admitHere();
    const dead = await leaseOf(store, ['died']);
    const request = { workerId: dead.workerId, queue: 'died', names: ['work'], limit: 1 };
    expect(await store.claim(request)).toMatchObject([{ id: ids[0] }]);
    await store.lanes.pause(lane);
    await client.query(`UPDATE ${schema}.worker SET lease_until = now() - interval '1 second' WHERE id = $1`, [
      dead.workerId,
    ]);
    await client.query('BEGIN');
    await client.query(`SELECT FROM ${schema}.lane_lock FOR UPDATE`);
    const rescuing = store.rescue({ leaseMs: 0, maxCrashes: 9, keepFailedMs: new Map() });
    await until(waits, Boolean);
    expect(await claim()).toEqual([]);
    await client.query('COMMIT');
    expect((await rescuing).map(({ id }) => id)).toContain(ids[0]);
    await store.lanes.resume(lane);
    expect(await claim()).toEqual([ids[0]]);
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
