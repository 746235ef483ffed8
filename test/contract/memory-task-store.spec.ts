import * as fc from 'fast-check';
import { InvalidOptionsError, MemoryTaskStore, StoreClosedError } from 'nestjs-backie';
import { v7 as uuid } from 'uuid';
import { describe, expect, it, vi } from 'vitest';
import { describeTaskStore } from './task-store.contract.js';
import { finish, hear, hourMs, immortal, leaseOf, mortal, newTask, release, retry } from './task-store.fixtures.js';

describeTaskStore('MemoryTaskStore', async () => {
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

describe('MemoryTaskStore by itself', () => {
  const start = Date.UTC(2030, 0, 1);
  const names = ['work'];

  async function open() {
    const clock = { now: start };
    const store = new MemoryTaskStore({ now: () => clock.now });
    await store.open();
    return { clock, store };
  }

  it('hands a task out in the millisecond in which it is due by the given clock', async () => {
    const { clock, store } = await open();
    const { workerId } = await leaseOf(store, ['q']);
    await store.enqueue([newTask({ queue: 'q', due: { inMs: 1_000 } })]);
    clock.now += 999;
    expect(await store.claim({ workerId, queue: 'q', names, limit: 1 })).toEqual([]);
    clock.now += 1;
    const [claimed] = await store.claim({ workerId, queue: 'q', names, limit: 1 });
    expect(claimed).toMatchObject({ createdAt: start, scheduledAt: start + 1_000 });
    await store.settle(workerId, [retry(claimed, hourMs)]);
    clock.now += hourMs - 1;
    expect(await store.claim({ workerId, queue: 'q', names, limit: 1 })).toEqual([]);
    clock.now += 1;
    expect(await store.claim({ workerId, queue: 'q', names, limit: 1 })).toMatchObject([{ attempt: 2 }]);
  });

  it('puts tasks that come due later into the order of those that wait already', async () => {
    const { clock, store } = await open();
    const { workerId } = await leaseOf(store, ['q']);
    const soon = newTask({ queue: 'q', priority: 5, due: { inMs: 10 } });
    const urgent = newTask({ queue: 'q', priority: 9, due: { inMs: 20 } });
    const now = newTask({ queue: 'q', priority: 5 });
    await store.enqueue([urgent, soon, now]);
    clock.now += 20;
    const claimed = await store.claim({ workerId, queue: 'q', names, limit: 3 });
    expect(claimed.map(({ id }) => id)).toEqual([urgent.id, now.id, soon.id]);
  });

  it('keeps the order of claims when tasks are taken out of the middle', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.record({ priority: fc.nat(20), removed: fc.boolean() })), async (wanted) => {
        const { store } = await open();
        const { workerId } = await leaseOf(store, ['q']);
        const tasks = wanted.map(({ priority }) => newTask({ queue: 'q', priority }));
        const hurdle = newTask({ queue: 'q', priority: 21 });
        await store.enqueue([hurdle, ...tasks]);
        // The first claim lines up all that are due, so that the removals meet a heap.
        expect(await store.claim({ workerId, queue: 'q', names, limit: 1 })).toMatchObject([{ id: hurdle.id }]);
        for (const [i, { removed }] of wanted.entries()) if (removed) await store.remove(tasks[i].id);
        const left = tasks.filter((_, i) => !wanted[i].removed).toSorted((a, b) => b.priority - a.priority);
        const claimed = await store.claim({ workerId, queue: 'q', names, limit: 1_000 });
        expect(claimed.map(({ id }) => id)).toEqual(left.map(({ id }) => id));
        await store.close();
      }),
      { numRuns: 500 },
    );
  });

  it('counts a lease down by the given clock and renews it by its timer', async () => {
    vi.useFakeTimers();
    try {
      const { clock, store } = await open();
      const lost = vi.fn<() => void>();
      const lease = await leaseOf(store, ['q'], mortal, lost);
      expect(lease.remainingMs()).toBe(30_000);
      clock.now += 29_999;
      expect(lease.remainingMs()).toBe(1);
      vi.advanceTimersByTime(10_000);
      expect(lease.remainingMs()).toBe(30_000);
      clock.now += 30_000;
      expect(lease.remainingMs()).toBe(0);
      expect(lost).not.toHaveBeenCalled();
      vi.advanceTimersByTime(100_000);
      expect(lost).toHaveBeenCalledTimes(1);
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it('holds a sustained lease as long as it was told to, and no longer', async () => {
    const { clock, store } = await open();
    const lease = await leaseOf(store, ['q'], mortal);
    lease.sustain(90_000);
    clock.now += 89_999;
    await store.enqueue([newTask({ queue: 'q' })]);
    expect(await store.claim({ workerId: lease.workerId, queue: 'q', names, limit: 1 })).toHaveLength(1);
    expect(await store.rescue({ leaseMs: 0, maxCrashes: 3, keepFailedMs: new Map() })).toEqual([]);
    clock.now += 1;
    lease.sustain(90_000);
    expect(lease.remainingMs()).toBe(0);
    expect(await store.rescue({ leaseMs: 0, maxCrashes: 3, keepFailedMs: new Map() })).toHaveLength(1);
    await store.close();
  });

  it('tells of released, retried and rescued tasks after the call that put them back', async () => {
    const { clock, store } = await open();
    const lease = await leaseOf(store, ['q'], mortal);
    const claim = async () => (await store.claim({ workerId: lease.workerId, queue: 'q', names, limit: 1 }))[0];
    await store.enqueue([newTask({ queue: 'q' })]);
    const { hints } = await hear(store);
    const heardBy = async (call: () => Promise<unknown>): Promise<number> => {
      const before = hints.length;
      const called = call();
      expect(hints).toHaveLength(before);
      await called;
      return hints.length - before;
    };
    const released = release(await claim());
    expect(await heardBy(() => store.settle(lease.workerId, [released]))).toBe(1);
    const retried = retry(await claim(), 0);
    expect(await heardBy(() => store.settle(lease.workerId, [retried]))).toBe(1);
    await claim();
    clock.now += mortal.leaseMs;
    expect(await heardBy(() => store.rescue({ leaseMs: 0, maxCrashes: 3, keepFailedMs: new Map() }))).toBe(1);
    expect(new Set(hints.map((hint) => JSON.stringify(hint)))).toEqual(new Set(['{"kind":"wake","queue":"q"}']));
    await store.close();
  });

  it('tells a listener nothing that was on its way when it stopped', async () => {
    const { store } = await open();
    const { hints, stop } = await hear(store);
    await Promise.all([store.enqueue([newTask({ queue: 'q' })]), stop()]);
    expect(hints).toEqual([]);
  });

  it('refuses a transaction, because it has none', async () => {
    const { store } = await open();
    await expect(store.enqueue([newTask({ queue: 'q' })], {})).rejects.toBeInstanceOf(InvalidOptionsError);
    expect(await store.counts()).toMatchObject({ ready: 0 });
    expect(() => store.afterCommit({}, () => {})).toThrow(InvalidOptionsError);
  });

  it('refuses calls before it is open', async () => {
    await expect(new MemoryTaskStore().enqueue([newTask({ queue: 'q' })])).rejects.toBeInstanceOf(StoreClosedError);
  });

  it('still has its tasks and paused queues when it is opened again', async () => {
    const { store } = await open();
    const task = newTask({ queue: 'q' });
    await store.enqueue([task]);
    await store.pause('q');
    await store.close();
    await store.open();
    expect(await store.find(task.id)).toMatchObject({ state: 'ready' });
    expect(await store.pausedQueues()).toEqual(['q']);
  });

  it('leaves no timer behind when it is closed', async () => {
    vi.useFakeTimers();
    try {
      const { store } = await open();
      const lost = vi.fn<() => void>();
      await leaseOf(store, ['q'], mortal, lost);
      await leaseOf(store, ['q'], immortal, lost);
      await store.close();
      expect(vi.getTimerCount()).toBe(0);
      expect(lost).not.toHaveBeenCalled();
    } finally {
      vi.useRealTimers();
    }
  });

  it('drains 100,000 tasks, one claim for one task', async () => {
    const { store } = await open();
    const { workerId } = await leaseOf(store, ['q']);
    const tasks = Array.from({ length: 100_000 }, (_, i) => newTask({ queue: 'q', id: uuid(), priority: i % 10 }));
    await store.enqueue(tasks);
    let drained = 0;
    let last = Infinity;
    for (;;) {
      const [claimed] = await store.claim({ workerId, queue: 'q', names, limit: 1 });
      if (!claimed) break;
      if (claimed.priority > last) throw new Error('Claimed out of order.');
      last = claimed.priority;
      drained += (await store.settle(workerId, [finish(claimed, { keepMs: null })])).size;
    }
    expect(drained).toBe(100_000);
    expect(await store.counts()).toEqual({ ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 });
  });
});
