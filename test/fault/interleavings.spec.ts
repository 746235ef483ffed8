import type { ClaimedTask, Lease, Settlement } from 'nestjs-backie';
import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { v7 as uuid } from 'uuid';
import { afterEach, describe, expect, it } from 'vitest';
import { finish, leaseOf, mortal, newTask, retry } from '../contract/task-store.fixtures.js';
import { freshDatabase, shared, whenFinished } from '../support/app.js';
import { openGates } from './harness/gates.js';

const queue = 'q';
const names = ['work'];

/**
 * One store is held in the middle of a statement while another passes, at every place where that could matter. The
 * places are triggers of the test's own (see gates.ts).
 */
describe('Interleavings of claim, settle and rescue', () => {
  const world = shared(async () => {
    const url = await freshDatabase();
    const gates = await openGates(url);
    whenFinished(() => gates.end());
    // A deadlock that PostgreSQL resolves is repeated by the store: only the time that it takes would show it.
    await gates.sql(`ALTER DATABASE ${new URL(url).pathname.slice(1)} SET deadlock_timeout = '20s'`);
    const open = async (applicationName: string) => {
      const store = new TypeOrmTaskStore({ connection: { url, applicationName } });
      await store.open();
      whenFinished(() => store.close());
      return store;
    };
    const stores = { one: await open('one'), other: await open('other') };
    await gates.install(['backie.task', 'backie.worker']);
    return { ...stores, gates };
  });
  const workerOf = (store: TypeOrmTaskStore, lost?: () => void) => leaseOf(store, [queue], mortal, lost);
  const claim = (store: TypeOrmTaskStore, { workerId }: Lease, limit = 10) =>
    store.claim({ workerId, queue, names, limit, startNow: limit });
  const rescue = (store: TypeOrmTaskStore) => store.rescue({ leaseMs: 0, maxCrashes: 9, keepFailedMs: new Map() });
  const expire = ({ workerId }: Lease) =>
    world().gates.sql(`UPDATE backie.worker SET lease_until = now() - interval '1 s' WHERE id = $1`, [workerId]);

  // A test that failed leaves no gate closed for the next one.
  afterEach(() => world().gates.openAll());

  /** An empty queue with so many new tasks, in the order of their ids. */
  async function tasks(count: number): Promise<string[]> {
    const { one, gates } = world();
    await gates.sql('TRUNCATE backie.task, backie.finished_task, backie.worker');
    const created = Array.from({ length: count }, () => newTask({ queue }));
    await one.enqueue(created);
    return created.map(({ id }) => id).toSorted();
  }

  async function claimedByOne(count = 1): Promise<{ lease: Lease; claimed: ClaimedTask[] }> {
    await tasks(count);
    const lease = await workerOf(world().one);
    return { lease, claimed: await claim(world().one, lease, count) };
  }

  /** So many other tasks that rows are looked up one by one, in the order in which a statement asks for them. */
  async function crowd(): Promise<void> {
    await world().gates.sql(`INSERT INTO backie.task (id, queue, name, payload)
      SELECT gen_random_uuid(), 'crowd', 'work', '{}' FROM generate_series(1, 5000)`);
    await world().gates.sql('ANALYZE backie.task');
  }

  it('lets a claim pass one that is held, and hands each task to one of them', async () => {
    const { one, other, gates } = world();
    const ids = await tasks(4);
    const [mine, theirs] = [await workerOf(one), await workerOf(other)];
    const gate = await gates.close('one:UPDATE:task');
    const held = claim(one, mine, 2);
    await gate.reached();
    const passed = await claim(other, theirs, 4);
    await gate.open();
    const all = [...(await held), ...passed].map(({ id }) => id);
    expect(passed).not.toEqual([]);
    expect(all.toSorted()).toEqual(ids);
  });

  it('finds the tasks of a claim whose worker was buried while it was under way', async () => {
    const { one, other, gates } = world();
    await tasks(1);
    const [mine, theirs] = [await workerOf(one), await workerOf(other)];
    const gate = await gates.close('one:UPDATE:task');
    const held = claim(one, mine);
    await gate.reached();
    await expire(mine);
    expect(await rescue(other)).toEqual([]);
    await gate.open();
    const [late] = await held;
    const [rescued] = await rescue(other);
    expect(rescued).toMatchObject({ id: late.id, crashes: 1 });
    expect(await one.settle(mine.workerId, [finish(late)])).toEqual(new Map());
    const [again] = await claim(other, theirs);
    expect(again).toMatchObject({ id: late.id, claimSeq: late.claimSeq + 1 });
  });

  it('lets a settle that waited for a rescue change nothing', async () => {
    const { one, other, gates } = world();
    const { lease, claimed } = await claimedByOne();
    await expire(lease);
    const gate = await gates.close('other:UPDATE:task');
    const rescuing = rescue(other);
    await gate.reached();
    const settling = one.settle(lease.workerId, [finish(claimed[0])]);
    await gates.blocked('one');
    await gate.open();
    expect(await rescuing).toHaveLength(1);
    expect(await settling).toEqual(new Map());
    expect(await one.find(claimed[0].id)).toMatchObject({ state: 'ready', crashes: 1 });
  });

  it('lets a rescue that comes during a settle leave the task to it', async () => {
    const { one, other, gates } = world();
    const { lease, claimed } = await claimedByOne();
    const gate = await gates.close('one:DELETE:task');
    const settling = one.settle(lease.workerId, [finish(claimed[0])]);
    await gate.reached();
    await expire(lease);
    expect(await rescue(other)).toEqual([]);
    await gate.open();
    expect(await settling).toEqual(new Map([[claimed[0].id, 'done']]));
    expect(await rescue(other)).toEqual([]);
    expect(await one.find(claimed[0].id)).toMatchObject({ state: 'done', crashes: 0 });
  });

  it('refuses a settle that comes while the task is being claimed by another', async () => {
    const { one, other, gates } = world();
    const { lease, claimed } = await claimedByOne();
    await expire(lease);
    await rescue(other);
    const theirs = await workerOf(other);
    const gate = await gates.close('other:UPDATE:task');
    const claiming = claim(other, theirs);
    await gate.reached();
    expect(await one.settle(lease.workerId, [finish(claimed[0], { state: 'failed' })])).toEqual(new Map());
    await gate.open();
    const [successor] = await claiming;
    expect(await other.settle(theirs.workerId, [finish(successor)])).toEqual(new Map([[successor.id, 'done']]));
    expect(await other.find(successor.id)).toMatchObject({ state: 'done' });
  });

  it('refuses a settle of the same worker for an earlier claim of the task', async () => {
    const { one } = world();
    const { lease, claimed } = await claimedByOne();
    await one.settle(lease.workerId, [retry(claimed[0], 0)]);
    const [again] = await claim(one, lease);
    expect(await one.settle(lease.workerId, [finish(claimed[0])])).toEqual(new Map());
    expect(await one.settle(lease.workerId, [finish(again)])).toEqual(new Map([[again.id, 'done']]));
  });

  it('settles opposed batches of the same tasks without a deadlock', async () => {
    const { one, other, gates } = world();
    const { lease, claimed } = await claimedByOne(9);
    await crowd();
    const settlements = claimed
      .toSorted((a, b) => (a.id < b.id ? -1 : 1))
      .map((task, index): Settlement => (index % 2 ? finish(task) : retry(task, 0)));
    // Each must take rows on both sides of the one in the middle, which is held.
    const middle = await gates.hold(`SELECT FROM backie.task WHERE id = $1 FOR UPDATE`, [settlements[4].id]);
    const settling = [one.settle(lease.workerId, settlements), other.settle(lease.workerId, settlements.toReversed())];
    await Promise.all([gates.blocked('one'), gates.blocked('other')]);
    await middle.release();
    const startedAt = performance.now();
    const settled = (await Promise.all(settling)).flatMap((states) => [...states.keys()]);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect(settled.toSorted()).toEqual(settlements.map(({ id }) => id));
  });

  it('settles opposed batches that leave no trace without a deadlock', async () => {
    const { one, other, gates } = world();
    const { lease, claimed } = await claimedByOne(9);
    await crowd();
    const settlements = claimed
      .toSorted((a, b) => (a.id < b.id ? -1 : 1))
      .map((task) => finish(task, { keepMs: null }));
    const middle = await gates.hold(`SELECT FROM backie.task WHERE id = $1 FOR UPDATE`, [settlements[4].id]);
    const settling = [one.settle(lease.workerId, settlements), other.settle(lease.workerId, settlements.toReversed())];
    await Promise.all([gates.blocked('one'), gates.blocked('other')]);
    await middle.release();
    const startedAt = performance.now();
    const settled = (await Promise.all(settling)).flatMap((states) => [...states.keys()]);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect(settled.toSorted()).toEqual(settlements.map(({ id }) => id));
  });

  it('cancels a task whose attempt failed while the wish was being written', async () => {
    const { one, other, gates } = world();
    const { lease, claimed } = await claimedByOne();
    const gate = await gates.close('other:UPDATE:task');
    const cancelling = other.cancel(claimed[0].id, () => Infinity);
    await gate.reached();
    const settling = one.settle(lease.workerId, [retry(claimed[0], 0)]);
    await gates.blocked('one');
    await gate.open();
    expect(await cancelling).toBe('requested');
    expect(await settling).toEqual(new Map([[claimed[0].id, 'cancelled']]));
    expect(await one.find(claimed[0].id)).toMatchObject({ state: 'cancelled' });
  });

  it('lets a renewal that waited for its own burial find out', async () => {
    const { one, other, gates } = world();
    await tasks(0);
    let lose: () => void = () => {};
    const lost = new Promise<void>((resolve) => {
      lose = resolve;
    });
    const worker = { id: uuid(), host: 'here', pid: 1, version: '0', queues: [queue] };
    const lease = await one.lease(worker, { leaseMs: 600_000, heartbeatMs: 100 }, { lost: lose, renewalFailed() {} });
    const gate = await gates.close('other:DELETE:worker');
    // Expired for an instant, in which the rescue begins; the next renewal waits for it.
    const row = await gates.hold('SELECT FROM backie.worker WHERE id = $1 FOR UPDATE', [worker.id]);
    await row.sql(`UPDATE backie.worker SET lease_until = now() - interval '1 s' WHERE id = $1`, [worker.id]);
    await row.release();
    const rescuing = rescue(other);
    const outcome = await Promise.race([gate.reached().then(() => 'burying'), lost.then(() => 'lost')]);
    await gate.open();
    await rescuing;
    await lost;
    expect(['burying', 'lost']).toContain(outcome);
    expect(lease.remainingMs()).toBe(0);
  });

  it('stores a task once whose enqueue is repeated while the first try is still under way', async () => {
    const { one, other, gates } = world();
    await tasks(0);
    const task = newTask({ queue });
    const gate = await gates.close('one:INSERT:task');
    const first = one.enqueue([task]);
    await gate.reached();
    const second = other.enqueue([task], undefined, true);
    await gate.open();
    expect(await first).toMatchObject([{ id: task.id, duplicate: false }]);
    expect(await second).toMatchObject([{ id: task.id, duplicate: false }]);
    expect(await one.counts(queue)).toMatchObject({ ready: 1 });
  });

  it('does not store a task again that finishes while its enqueue is repeated', async () => {
    const { one, other, gates } = world();
    await tasks(0);
    const task = newTask({ queue });
    await other.enqueue([task]);
    const worker = await workerOf(other);
    const gate = await gates.close('one:INSERT:task');
    const again = one.enqueue([task], undefined, true);
    await gate.reached();
    const [claimed] = await claim(other, worker);
    await other.settle(worker.workerId, [finish(claimed)]);
    await gate.open();
    expect(await again).toEqual([{ id: task.id, duplicate: false }]);
    expect(await one.counts(queue)).toMatchObject({ ready: 0, done: 1 });
  });

  it('gives a task back once although two rescuers look at once', async () => {
    const { one, other, gates } = world();
    const { lease } = await claimedByOne(5);
    await expire(lease);
    const gate = await gates.close('one:UPDATE:task');
    const first = rescue(one);
    await gate.reached();
    expect(await rescue(other)).toEqual([]);
    await gate.open();
    expect(await first).toHaveLength(5);
    expect(await rescue(other)).toEqual([]);
  });
});
