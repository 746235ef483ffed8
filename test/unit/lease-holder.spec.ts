import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LeaseHolder } from '../../lib/engine/lease-holder.js';
import type { Lease, LeaseEvents, LeaseTerms, TaskStore, WorkerIdentity } from '../../lib/engine/task-store.js';
import { deferred, FakeLease, identity, isSettled } from './engine.fixtures.js';

const terms: LeaseTerms = { leaseMs: 30_000, heartbeatMs: 10_000 };

describe('a lease holder', () => {
  let lease: ReturnType<typeof vi.fn<(worker: WorkerIdentity, terms: LeaseTerms, events: LeaseEvents) => unknown>>;
  const lost: Lease[] = [];
  const failures: string[] = [];
  const warnings: string[] = [];
  let holder: LeaseHolder;
  let workers = 0;

  beforeEach(() => {
    vi.useFakeTimers();
    lost.length = failures.length = warnings.length = workers = 0;
    lease = vi.fn((worker: WorkerIdentity) => Promise.resolve(new FakeLease(worker.id)));
    holder = new LeaseHolder({ lease } as unknown as TaskStore, terms, () => identity(`worker-${++workers}`), {
      lost: (one) => lost.push(one),
      failed: (doing, error) => failures.push(`${doing}: ${String(error)}`),
      weakened: (reason) => warnings.push(reason),
    });
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  /** What the holder told the store of its n-th registration, from 1. */
  const eventsOf = (registration: number) => lease.mock.calls[registration - 1]![2];

  it('registers under the given terms and holds what it got', async () => {
    await holder.begin();
    expect(lease).toHaveBeenCalledExactlyOnceWith(identity('worker-1'), terms, expect.anything());
    expect((await holder.held()).workerId).toBe('worker-1');
    expect(holder.lease?.workerId).toBe('worker-1');
  });

  it('rejects when it cannot register to begin with', async () => {
    lease.mockRejectedValueOnce(new Error('no answer'));
    await expect(holder.begin()).rejects.toThrow('no answer');
    expect(holder.lease).toBeUndefined();
    expect(lease).toHaveBeenCalledOnce();
  });

  it('holds nothing before it begins and after it ends', async () => {
    expect(() => holder.held()).toThrow('holds no lease');
    await holder.begin();
    const held = (await holder.held()) as FakeLease;
    await holder.end();
    expect(held.ended).toBe(true);
    expect(holder.lease).toBeUndefined();
    expect(() => holder.held()).toThrow('holds no lease');
  });

  it('tells that a lease is lost, and comes back as another worker', async () => {
    await holder.begin();
    const first = await holder.held();
    const renewed = deferred<Lease>();
    lease.mockReturnValueOnce(renewed.promise);
    eventsOf(1).lost();
    expect(lost).toEqual([first]);
    expect(holder.lease).toBeUndefined();
    const held = Promise.resolve(holder.held());
    expect(await isSettled(held)).toBe(false);
    renewed.resolve(new FakeLease('worker-2'));
    expect((await held).workerId).toBe('worker-2');
    expect(lease.mock.calls.map(([worker]) => worker.id)).toEqual(['worker-1', 'worker-2']);
    expect(holder.lease?.workerId).toBe('worker-2');
  });

  it('tries to register again until it works, with pauses that grow to a few seconds', async () => {
    await holder.begin();
    lease.mockRejectedValue(new Error('no answer'));
    eventsOf(1).lost();
    const held = holder.held();
    await vi.advanceTimersByTimeAsync(60_000);
    const tries = lease.mock.calls.length - 1;
    // Seven tries until the pause is 5 s, then one every 3.75 to 6.25 seconds.
    expect(tries).toBeGreaterThanOrEqual(13);
    expect(tries).toBeLessThanOrEqual(24);
    expect(failures).toHaveLength(tries);
    expect(failures[0]).toBe('register as a worker again: Error: no answer');
    lease.mockResolvedValue(new FakeLease('at last'));
    await vi.advanceTimersByTimeAsync(6_250);
    expect((await held).workerId).toBe('at last');
  });

  it('does not hold a lease that was lost on its way here', async () => {
    const lostAtOnce = (worker: WorkerIdentity, _: LeaseTerms, events: LeaseEvents) => {
      events.lost();
      return Promise.resolve(new FakeLease(worker.id));
    };
    lease.mockImplementationOnce(lostAtOnce);
    await expect(holder.begin()).rejects.toThrow('worker-1 was lost before it was held');
    expect(holder.lease).toBeUndefined();
    await holder.begin();
    lease.mockImplementationOnce(lostAtOnce);
    eventsOf(2).lost();
    await vi.advanceTimersByTimeAsync(200);
    expect((await holder.held()).workerId).toBe('worker-4');
    expect(lost.map(({ workerId }) => workerId)).toEqual(['worker-2']);
  });

  it('can lose one lease after the other', async () => {
    await holder.begin();
    for (let i = 1; i <= 5; i++) {
      eventsOf(i).lost();
      expect((await holder.held()).workerId).toBe(`worker-${i + 1}`);
    }
    expect(lost.map(({ workerId }) => workerId)).toEqual([1, 2, 3, 4, 5].map((n) => `worker-${n}`));
  });

  it('reports renewals that fail and keeps the lease', async () => {
    await holder.begin();
    eventsOf(1).renewalFailed(new Error('late'));
    expect(failures).toEqual(['renew the lease: Error: late']);
    expect(holder.lease?.workerId).toBe('worker-1');
  });

  it('passes on why a lease is less protected than usual, and takes it for no failure', async () => {
    await holder.begin();
    eventsOf(1).weakened?.('no thread');
    expect(warnings).toEqual(['no thread']);
    expect(failures).toEqual([]);
    expect(holder.lease?.workerId).toBe('worker-1');
  });

  it('does not come back when its lease is lost after its end', async () => {
    await holder.begin();
    await holder.end();
    eventsOf(1).lost();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(lease).toHaveBeenCalledOnce();
  });

  it('ends the lease that it was just about to get', async () => {
    await holder.begin();
    const renewed = deferred<Lease>();
    lease.mockReturnValueOnce(renewed.promise);
    eventsOf(1).lost();
    const ended = holder.end();
    const late = new FakeLease('late');
    renewed.resolve(late);
    await ended;
    expect(late.ended).toBe(true);
    expect(holder.lease).toBeUndefined();
  });

  it('gives up registering when it ends', async () => {
    await holder.begin();
    lease.mockRejectedValue(new Error('no answer'));
    eventsOf(1).lost();
    await vi.advanceTimersByTimeAsync(1_000);
    const ended = holder.end();
    await vi.advanceTimersByTimeAsync(10_000);
    await ended;
    const tries = lease.mock.calls.length;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(lease).toHaveBeenCalledTimes(tries);
  });
});
