import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { describeTaskStore } from './task-store.contract.js';
import { openDataSource } from '../support/app.js';
import { finish, leaseOf, newTask } from './task-store.fixtures.js';

const url = inject('databaseUrl');
const schema = `contract_${randomBytes(6).toString('hex')}`;
const client = new Client({ connectionString: url });

beforeAll(() => client.connect());
afterAll(async () => {
  await client.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
  await client.end();
});

async function open(): Promise<TypeOrmTaskStore> {
  const store = new TypeOrmTaskStore({ connection: url, schema });
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

it('takes nobody for dead for one lease after the start of PostgreSQL', async () => {
  const store = await open();
  const worker = await leaseOf(store, ['young']);
  const task = newTask({ queue: 'young' });
  await store.enqueue([task]);
  await store.claim({ workerId: worker.workerId, queue: 'young', names: ['work'], limit: 1 });
  await client.query(`UPDATE ${schema}.worker SET lease_until = now() - interval '1 day' WHERE id = $1`, [
    worker.workerId,
  ]);
  // Everything that the other tests have left behind would be rescued as well.
  const rescue = async (leaseMs: number) =>
    (await store.rescue({ leaseMs, maxCrashes: 3, keepFailedMs: new Map() })).map(({ id }) => id);
  const { rows } = await client.query<{ up: number }>(
    `SELECT (extract(epoch FROM now() - pg_postmaster_start_time()) * 1000)::float8 AS up`,
  );
  expect(await rescue(rows[0].up + 60_000)).toEqual([]);
  const [held] = await store.holdings(worker.workerId);
  expect(held).toMatchObject({ id: task.id });
  const row = await client.query(`SELECT FROM ${schema}.worker WHERE id = $1`, [worker.workerId]);
  expect(row.rowCount).toBe(1);
  expect(await rescue(rows[0].up)).toContain(task.id);
  expect(await store.holdings(worker.workerId)).toEqual([]);
  await store.close();
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
