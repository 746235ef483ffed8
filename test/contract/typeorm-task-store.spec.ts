import type { ClaimedTask, ClaimRequest, NewTask } from 'nestjs-backie';
import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { randomBytes } from 'node:crypto';
import { Client, types } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { describeTaskStore } from './task-store.contract.js';
import { statementTexts } from '../../dist/typeorm/statements.js';
import { startProxy } from '../fixtures/proxy.js';
import { openDataSource } from '../support/app.js';
import { connected } from '../support/own-server.js';
import { until } from '../support/tasks.js';
import { finish, hourMs, leaseOf, newTask, release } from './task-store.fixtures.js';

const url = inject('databaseUrl');
const schema = `contract_${randomBytes(6).toString('hex')}`;
const client = new Client({ connectionString: url });

beforeAll(() => client.connect());
afterAll(async () => {
  await client.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
  await client.end();
});

async function open(connection = url): Promise<TypeOrmTaskStore> {
  const store = new TypeOrmTaskStore({ connection, schema });
  await store.open();
  return store;
}

describeTaskStore('TypeOrmTaskStore', async () => {
  const store = await open();
  return {
    store,
    async expireLease(workerId) {
      await client.query(`UPDATE ${schema}.worker SET lease_until = now() - interval '1 second' WHERE id = $1`, [
        workerId,
      ]);
    },
    async passTime(queue, ms) {
      // What is due stays where it is in the order of claims, as it would if the clock went on.
      const ago = `make_interval(secs => $2::float8 / 1000)`;
      for (const move of [
        `task SET scheduled_at = scheduled_at - ${ago} WHERE queue = $1 AND scheduled_at > now()`,
        `task SET due_at = due_at - ${ago} WHERE queue = $1 AND due_at > now()`,
        `worker SET lease_until = lease_until - ${ago} WHERE queues ? $1`,
        `task SET expires_at = expires_at - ${ago} WHERE queue = $1`,
        `unique_window SET until = until - ${ago} WHERE queue = $1`,
        `finished_task SET kept_until = kept_until - ${ago} WHERE queue = $1 AND kept_until < 'infinity'`,
      ]) {
        await client.query(`UPDATE ${schema}.${move}`, [queue, ms]);
      }
    },
    dispose: () => store.close(),
    racing: true,
  };
});

describe('TypeOrmTaskStore in two processes', () => {
  it('keeps a queue paused for a store that is opened later', async () => {
    const before = await open();
    await before.pause('paused');
    await before.enqueue([newTask({ queue: 'paused' })]);
    await before.close();
    const after = await open();
    expect(await after.pausedQueues()).toContain('paused');
    const { workerId } = await leaseOf(after, ['paused']);
    expect(await after.claim({ workerId, queue: 'paused', names: ['work'], limit: 1 })).toEqual([]);
    await after.resume('paused');
    expect(await after.claim({ workerId, queue: 'paused', names: ['work'], limit: 1 })).toHaveLength(1);
    await after.close();
  });

  it('never hands one task to two stores', async () => {
    const stores = [await open(), await open()];
    const tasks = Array.from({ length: 300 }, () => newTask({ queue: 'shared' }));
    await stores[0].enqueue(tasks);
    const claimed = (await Promise.all(stores.map(drain))).flat();
    claimed.push(...(await drain(stores[0])));
    expect(claimed.toSorted()).toEqual(tasks.map(({ id }) => id).toSorted());
    for (const store of stores) await store.close();
  });
});

it("does not run a task again whose id a caller's transaction stores anew after it has finished", async () => {
  const store = await open();
  const { workerId } = await leaseOf(store, ['again']);
  const task = newTask({ queue: 'again', handTo: workerId });
  const [{ id, handedAt }] = await store.enqueue([task]);
  expect(handedAt).toEqual(expect.any(Number));
  await store.settle(workerId, [finish({ id, queue: 'again', claimSeq: 1 })]);
  const dataSource = await openDataSource();
  const stored = await dataSource.transaction((manager) => store.enqueue([task], manager, true));
  expect(stored).toEqual([{ id, duplicate: false }]);
  expect(await store.find(id)).toMatchObject({ state: 'done' });
  expect(await store.holdings(workerId)).toEqual([]);
  await store.close();
});

it('gives the first claim number of a task to nobody else that it stores again, having forgotten it', async () => {
  const store = await open();
  const { workerId } = await leaseOf(store, ['forgotten']);
  const task = newTask({ queue: 'forgotten', handTo: workerId });
  await store.pause('forgotten');
  expect(await store.enqueue([task], undefined, true)).toEqual([{ id: task.id, duplicate: false }]);
  await store.resume('forgotten');
  const claimed = await store.claim({ workerId, queue: 'forgotten', names: [task.name], limit: 1 });
  expect(claimed).toMatchObject([{ id: task.id, claimSeq: 2, attempt: 1 }]);
  await store.close();
});

it('takes nobody for dead for one lease after the start of PostgreSQL', async () => {
  const store = await open();
  const worker = await leaseOf(store, ['young']);
  const task = newTask({ queue: 'young' });
  await store.enqueue([task]);
  await store.claim({ workerId: worker.workerId, queue: 'young', names: ['work'], limit: 1 });
  await client.query(`UPDATE ${schema}.worker SET lease_until = now() - interval '1 day' WHERE id = $1`, [
    worker.workerId,
  ]);
  // As if all had been before the start of the server that runs now.
  await client.query(`UPDATE ${schema}.claim_base SET server = server - interval '1 day'`);
  const rescue = async () =>
    (await store.rescue({ leaseMs: hourMs, maxCrashes: 3, keepFailedMs: new Map() })).map(({ id }) => id);
  expect(await rescue()).toEqual([]);
  const [held] = await store.holdings(worker.workerId);
  expect(held).toMatchObject({ id: task.id });
  const row = await client.query(`SELECT FROM ${schema}.worker WHERE id = $1`, [worker.workerId]);
  expect(row.rowCount).toBe(1);
  await client.query(`UPDATE ${schema}.claim_base SET since = since - interval '1 hour'`);
  // Everything that the other tests have left behind is rescued as well.
  expect(await rescue()).toContain(task.id);
  expect(await store.holdings(worker.workerId)).toEqual([]);
  await store.close();
});

describe('a server that has crashed, which leaves no number to count claims from', () => {
  const queue = 'crashed';
  const base = (set: string) => client.query(`UPDATE ${schema}.claim_base SET ${set}`);
  const crash = () => client.query(`DELETE FROM ${schema}.claim_base`);
  const waitingFor = (table: string) =>
    `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%${schema}%${table}%'`;
  const epoch = async () => {
    const { rows } = await client.query<{ number: number }>(`SELECT number FROM ${schema}.claim_epoch`);
    return rows[0]?.number ?? 0;
  };
  const claimOne = async () => {
    const store = await open();
    const { workerId } = await leaseOf(store, [queue]);
    await store.enqueue([newTask({ queue })]);
    const [task] = await store.claim({ workerId, queue, names: ['work'], limit: 1 });
    await store.settle(workerId, [finish(task)]);
    await base(`since = '-infinity'`);
    await store.close();
    return task.claimSeq;
  };

  it.each<[string, (store: TypeOrmTaskStore, request: ClaimRequest) => Promise<readonly ClaimedTask[]>]>([
    ['a claim', (store, request) => store.claim(request)],
    ['a claim of a suspect', (store, request) => store.claim({ ...request, suspects: { crashes: 1, takeOne: true } })],
    ['a claim within limits', async (store, request) => (await store.claimLimited(request)).tasks],
  ])('has %s begin far above all before', async (_, claim) => {
    const store = await open();
    const { workerId } = await leaseOf(store, [queue]);
    const [{ id }] = await store.enqueue([newTask({ queue })]);
    await client.query(`UPDATE ${schema}.task SET crashes = 1 WHERE id = $1`, [id]);
    const before = await epoch();
    await crash();
    const [task] = await claim(store, { workerId, queue, names: ['work'], limit: 1 });
    const after = await epoch();
    expect(after).toBeGreaterThan(before);
    expect(task).toMatchObject({ id, claimSeq: after * 2 ** 24 });
    await store.settle(workerId, [release(task)]);
    const [again] = await claim(store, { workerId, queue, names: ['work'], limit: 1 });
    expect(again.claimSeq).toBe(task.claimSeq + 1);
    await store.settle(workerId, [finish(again)]);
    await base(`since = '-infinity'`);
    await store.close();
  });

  it('has claims begin anew too when it has kept the number over its start, as a copy does and some servers do', async () => {
    await claimOne();
    const before = await epoch();
    await base(`server = server - interval '2 years'`);
    const claimSeq = await claimOne();
    expect(await epoch()).toBeGreaterThan(before);
    expect(claimSeq).toBe((await epoch()) * 2 ** 24);
    expect(await claimOne()).toBe(claimSeq);
    expect((await client.query(`SELECT FROM ${schema}.claim_base`)).rowCount).toBe(1);
  });

  it('leaves the number of another server alone that has the same tables', async () => {
    await crash();
    await claimOne();
    await base(`server = server - interval '1 day'`);
    const [before] = (await client.query(`SELECT * FROM ${schema}.claim_base`)).rows;
    await claimOne();
    const { rows } = await client.query(`SELECT * FROM ${schema}.claim_base ORDER BY server`);
    expect(rows).toEqual([before, expect.objectContaining({ base: String((await epoch()) * 2 ** 24) })]);
    await client.query(`DELETE FROM ${schema}.claim_base WHERE server < pg_postmaster_start_time()`);
  });

  it('has claims begin anew in a schema whose tables were all emptied', async () => {
    await crash();
    await client.query(`DELETE FROM ${schema}.claim_epoch`);
    expect(await claimOne()).toBe((await epoch()) * 2 ** 24);
  });

  it('has numbers stay below 2^53 under a clock that is far ahead', async () => {
    const { beginEpoch } = statementTexts(schema);
    const ahead = beginEpoch.replace('clock_timestamp()', `timestamptz '2200-01-01Z'`);
    expect(ahead).not.toBe(beginEpoch);
    await claimOne();
    const before = await epoch();
    await crash();
    await client.query(ahead);
    expect(await epoch()).toBe(before + 1);
  });

  it('has all that begin anew agree, and goes on when the clock was set back', async () => {
    const stores = await Promise.all([open(), open(), open(), open()]);
    await crash();
    await claimOne();
    const set = await client.query<{ number: number }>(
      `UPDATE ${schema}.claim_epoch SET number = number + 1000000 RETURNING number`,
    );
    const holder = await connected(url);
    await holder.query('BEGIN');
    await holder.query(`SELECT FROM ${schema}.claim_epoch FOR UPDATE`);
    await crash();
    const claims = stores.map(async (store, i) => {
      const { workerId } = await leaseOf(store, [queue]);
      await store.enqueue([newTask({ queue, name: `work ${i}` })]);
      const [task] = await store.claim({ workerId, queue, names: [`work ${i}`], limit: 1 });
      await store.settle(workerId, [finish(task)]);
      return task.claimSeq;
    });
    await until(
      () => client.query(waitingFor('claim_epoch')),
      ({ rowCount }) => rowCount === stores.length,
    );
    await holder.query('COMMIT');
    const next = set.rows[0].number + 1;
    expect(await Promise.all(claims)).toEqual(stores.map(() => next * 2 ** 24));
    expect(await epoch()).toBe(next);
    await base(`since = '-infinity'`);
    await Promise.all(stores.map((store) => store.close()));
  });

  it.each(['forward', 'pooled'] as const)('takes nobody for dead for one lease from then on (%s)', async (mode) => {
    const store = new TypeOrmTaskStore({ connection: (await startProxy(mode)).url, schema });
    await store.open();
    const { workerId } = await leaseOf(store, [queue]);
    await store.enqueue([newTask({ queue })]);
    const [{ id }] = await store.claim({ workerId, queue, names: ['work'], limit: 1 });
    await client.query(`UPDATE ${schema}.worker SET lease_until = now() - interval '1 day' WHERE id = $1`, [workerId]);
    const rescue = async () =>
      (await store.rescue({ leaseMs: hourMs, maxCrashes: 3, keepFailedMs: new Map() })).map((task) => task.id);
    await crash();
    expect(await rescue()).toEqual([]);
    await base(`since = since - interval '1 hour'`);
    expect(await rescue()).toContain(id);
    await base(`since = '-infinity'`);
    await store.close();
  });

  it('takes nobody for dead either when that was found while the question was under way', async () => {
    const store = await open();
    const { workerId } = await leaseOf(store, [queue]);
    await store.enqueue([newTask({ queue })]);
    const [{ id }] = await store.claim({ workerId, queue, names: ['work'], limit: 1 });
    await client.query(`UPDATE ${schema}.worker SET lease_until = now() - interval '1 day' WHERE id = $1`, [workerId]);
    const rescue = async (leaseMs: number) =>
      (await store.rescue({ leaseMs, maxCrashes: 3, keepFailedMs: new Map() })).map((task) => task.id);
    const holder = await connected(url);
    await holder.query('BEGIN');
    await holder.query(`LOCK TABLE ${schema}.claim_base`);
    const rescued = rescue(100);
    await until(
      () => client.query(waitingFor('claim_base')),
      ({ rowCount }) => rowCount === 1,
    );
    await holder.query(`UPDATE ${schema}.claim_base SET since = clock_timestamp()`);
    await holder.query('COMMIT');
    expect(await rescued).toEqual([]);
    await base(`since = '-infinity'`);
    expect(await rescue(0)).toContain(id);
    await store.close();
  });

  it('lets a clock that was ahead then keep nobody from being rescued', async () => {
    const store = await open();
    const { workerId } = await leaseOf(store, [queue]);
    await store.enqueue([newTask({ queue })]);
    const [{ id }] = await store.claim({ workerId, queue, names: ['work'], limit: 1 });
    await client.query(`UPDATE ${schema}.worker SET lease_until = now() - interval '1 day' WHERE id = $1`, [workerId]);
    await base(`since = now() + interval '1 year'`);
    const rescued = await store.rescue({ leaseMs: 0, maxCrashes: 3, keepFailedMs: new Map() });
    expect(rescued.map((task) => task.id)).toContain(id);
    await base(`since = '-infinity'`);
    await store.close();
  });
});

describe('a claim of whoever starts early', () => {
  async function claimedEarly(queue: string, tasks: readonly NewTask[], connection = url) {
    const store = await open(connection);
    const { workerId } = await leaseOf(store, [queue]);
    await store.enqueue(tasks);
    const early = vi.fn<(durable: Promise<void>) => void>();
    const names = ['work', 'keyed'];
    const claimed = await store.claim({ workerId, queue, names, limit: 10, early });
    return { store, claimed, told: early.mock.calls };
  }

  it('is told when the disk has it', async () => {
    const { store, claimed, told } = await claimedEarly('early', [newTask({ queue: 'early' })]);
    expect(claimed).toHaveLength(1);
    expect(told).toHaveLength(1);
    expect(await told[0]![0]).toBeUndefined();
    await store.close();
  });

  it('has waited for the disk on an Amazon Aurora, whose unlogged tables outlive a crash', async () => {
    const { BOOL } = types.builtins;
    const parser = types.getTypeParser(BOOL);
    // An application's own, which must not reach the engine.
    types.setTypeParser(BOOL, () => undefined);
    onTestFinished(() => types.setTypeParser(BOOL, parser));
    await client.query(`CREATE SCHEMA ${schema}_aurora`);
    onTestFinished(async () => void (await client.query(`DROP SCHEMA ${schema}_aurora CASCADE`)));
    await client.query(`CREATE FUNCTION ${schema}_aurora.aurora_version() RETURNS text LANGUAGE sql RETURN '16.4.1'`);
    const connection = new URL(url);
    connection.searchParams.set('options', `-csearch_path=${schema}_aurora`);
    const { store, claimed, told } = await claimedEarly('early', [newTask({ queue: 'early' })], connection.href);
    expect(claimed).toHaveLength(1);
    expect(told).toEqual([]);
    await store.close();
  });

  it('has waited for the disk when it has brought nothing', async () => {
    const { store, told } = await claimedEarly('early-none', []);
    expect(told).toEqual([]);
    await store.close();
  });

  it('has waited for the disk when a task has a concurrency key', async () => {
    const keyed = newTask({ queue: 'early-keyed', name: 'keyed', lane: 'k', laneLimit: 1 });
    const { store, claimed, told } = await claimedEarly('early-keyed', [newTask({ queue: 'early-keyed' }), keyed]);
    expect(claimed).toHaveLength(2);
    expect(told).toEqual([]);
    await store.close();
  });
});

describe('a claim that began before a task expired, and came to it only after its key was given to another', () => {
  const lockKey = 4_711;
  const holder = new Client({ connectionString: url });

  beforeAll(async () => {
    await holder.connect();
    await (await open()).close();
  });
  afterAll(() => holder.end());

  /** Holds a claim up by `hold` until the second task of the queue has expired and its key is another's. */
  async function claimedBeside(
    queue: string,
    hold: string,
    claim: (store: TypeOrmTaskStore, workerId: string) => Promise<readonly { id: string }[]>,
  ) {
    const store = await open();
    const { workerId } = await leaseOf(store, [queue]);
    const first = newTask({ queue, name: 'gate' });
    const held = { queue, uniqueKey: 'k' };
    await store.enqueue([first]);
    const [old] = await store.enqueue([newTask({ ...held, expiresInMs: 1_000 })]);
    await holder.query('BEGIN');
    await holder.query(hold);
    const claiming = claim(store, workerId);
    await untilWaiting();
    await client.query(
      `SELECT pg_sleep(extract(epoch FROM expires_at - clock_timestamp())) FROM ${schema}.task WHERE id = $1`,
      [old.id],
    );
    const [fresh] = await store.enqueue([newTask({ ...held, due: { inMs: 60_000 } })]);
    expect(fresh.duplicate).toBe(false);
    await holder.query('COMMIT');
    const ids = (await claiming).map(({ id }) => id);
    await store.close();
    return { ids, first: first.id };
  }

  /** Until the claim waits for what `holder` has locked. */
  async function untilWaiting(): Promise<void> {
    const { rows } = await holder.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    for (let waiting = 0; waiting === 0;) {
      const { rowCount } = await client.query(
        'SELECT FROM pg_stat_activity WHERE $1::int = ANY(pg_blocking_pids(pid))',
        [rows[0].pid],
      );
      waiting = rowCount ?? 0;
    }
  }

  it('does not start it', async () => {
    // The claim changes the first task before it looks at the second.
    await client.query(
      `CREATE FUNCTION ${schema}.hold() RETURNS trigger LANGUAGE plpgsql AS
       'BEGIN PERFORM pg_advisory_xact_lock(${lockKey}); RETURN NEW; END'`,
    );
    await client.query(
      `CREATE TRIGGER hold BEFORE UPDATE ON ${schema}.task FOR EACH ROW WHEN (NEW.name = 'gate')
       EXECUTE FUNCTION ${schema}.hold()`,
    );
    const { ids, first } = await claimedBeside(
      'expiring',
      `SELECT pg_advisory_xact_lock(${lockKey})`,
      (store, workerId) => store.claim({ workerId, queue: 'expiring', names: ['gate', 'work'], limit: 10 }),
    );
    expect(ids).toEqual([first]);
    await client.query(`DROP FUNCTION ${schema}.hold() CASCADE`);
  });

  it('does not start it from a queue with limits either', async () => {
    const { ids, first } = await claimedBeside(
      'limited',
      `LOCK TABLE ${schema}.task_setting`,
      async (store, workerId) => {
        return (await store.claimLimited({ workerId, queue: 'limited', names: ['gate', 'work'], limit: 10 })).tasks;
      },
    );
    expect(ids).toEqual([first]);
  });
});

/** Claims until nothing is left, as a worker of its own. */
async function drain(store: TypeOrmTaskStore): Promise<string[]> {
  const { workerId } = await leaseOf(store, ['shared']);
  const ids: string[] = [];
  for (;;) {
    const claimed = await store.claim({ workerId, queue: 'shared', names: ['work'], limit: 9 });
    if (!claimed.length) return ids;
    ids.push(...claimed.map(({ id }) => id));
  }
}
