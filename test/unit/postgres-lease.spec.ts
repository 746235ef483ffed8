import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PostgresLease } from '../../lib/typeorm/postgres-lease.js';
import { deferred, ticks } from './engine.fixtures.js';

/** The renewing thread, as far as this side sees it. */
const { FakeThread, threads } = await vi.hoisted(async () => {
  const { EventEmitter } = await import('node:events');
  class FakeThread extends EventEmitter {
    readonly told: unknown[] = [];

    constructor(
      _: URL,
      readonly options: { readonly workerData: { readonly firstInMs: number; readonly clocks: SharedArrayBuffer } },
    ) {
      super();
      if (threads.broken) throw threads.broken;
      threads.all.push(this);
    }

    postMessage(message: unknown): void {
      this.told.push(message);
    }
    unref(): void {}
  }
  const threads = { all: [] as FakeThread[], broken: undefined as Error | undefined };
  return { FakeThread, threads };
});

vi.mock('node:worker_threads', () => ({ Worker: FakeThread }));

const leaseMs = 10_000;
const heartbeatMs = 2_000;
/** Given up that much before the database does. */
const marginMs = 500;

describe('a lease on PostgreSQL', () => {
  const renewHere = vi.fn<() => Promise<boolean>>();
  const end = vi.fn(async () => {});
  const lost = vi.fn();
  const failures: string[] = [];
  const warnings: string[] = [];

  beforeEach(() => {
    vi.useFakeTimers();
    threads.all.length = failures.length = warnings.length = 0;
    threads.broken = undefined;
    vi.resetAllMocks();
    renewHere.mockResolvedValue(true);
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  /** The lease of a worker that runs something. */
  function leased(): PostgresLease {
    const lease = idle();
    lease.sustain(leaseMs + 60_000);
    return lease;
  }

  function idle(): PostgresLease {
    const options = { leaseMs, heartbeatMs, connection: {}, sql: 'renew', workerId: 'worker', end, renewHere };
    const events = {
      lost,
      renewalFailed: (error: unknown) => failures.push(String(error)),
      weakened: (reason: string) => warnings.push(reason),
    };
    return new PostgresLease(options, events, process.hrtime.bigint());
  }

  const fail = () => threads.all[0]!.emit('message', { kind: 'failed', message: 'connection refused' });

  it('leaves renewals to its thread as long as those succeed', async () => {
    const lease = leased();
    expect(lease.remainingMs()).toBe(leaseMs - marginMs);
    await vi.advanceTimersByTimeAsync(leaseMs - marginMs - 1);
    expect(renewHere).not.toHaveBeenCalled();
    expect(warnings).toEqual([]);
    await vi.advanceTimersByTimeAsync(11);
    expect(lost).toHaveBeenCalledOnce();
    expect(lease.remainingMs()).toBe(0);
  });

  it('is renewed once on the connections of the store when its thread reports a failure', async () => {
    const lease = leased();
    await vi.advanceTimersByTimeAsync(4_000);
    const answer = deferred<boolean>();
    renewHere.mockReturnValueOnce(answer.promise);
    fail();
    expect(failures).toEqual(['Error: connection refused']);
    await vi.advanceTimersByTimeAsync(1_000);
    answer.resolve(true);
    await ticks();
    lease.sustain(leaseMs + 60_000);
    // From when the renewal was sent, not from when it was answered.
    expect(lease.remainingMs()).toBe(leaseMs - marginMs - 1_000);
    await vi.advanceTimersByTimeAsync(leaseMs - marginMs - 1_001);
    expect(renewHere).toHaveBeenCalledOnce();
    expect(lost).not.toHaveBeenCalled();
    expect(warnings).toEqual([]);
    lease.lose();
  });

  it('is renewed by one statement at a time', async () => {
    const lease = leased();
    const answer = deferred<boolean>();
    renewHere.mockReturnValueOnce(answer.promise);
    fail();
    fail();
    expect(renewHere).toHaveBeenCalledOnce();
    answer.resolve(true);
    await ticks();
    fail();
    expect(renewHere).toHaveBeenCalledTimes(2);
    lease.lose();
  });

  it('is lost when that renewal finds nothing to renew', async () => {
    renewHere.mockResolvedValueOnce(false);
    const lease = leased();
    fail();
    await ticks();
    expect(lost).toHaveBeenCalledOnce();
    expect(lease.remainingMs()).toBe(0);
  });

  it('lasts as long as before when that renewal fails too, and tells of both', async () => {
    renewHere.mockRejectedValueOnce(new Error('no answer'));
    const lease = leased();
    await vi.advanceTimersByTimeAsync(1_000);
    fail();
    await ticks();
    expect(failures).toEqual(['Error: connection refused', 'Error: no answer']);
    expect(lease.remainingMs()).toBe(leaseMs - marginMs - 1_000);
    lease.lose();
  });

  it('stays over, and tells nothing, when a renewal is answered after its end', async () => {
    const answers = [deferred<boolean>(), deferred<boolean>(), deferred<boolean>()];
    for (const { promise } of answers) {
      renewHere.mockReturnValueOnce(promise);
      const lease = leased();
      threads.all.at(-1)!.emit('message', { kind: 'failed', message: 'gone' });
      await lease.end();
    }
    answers[0]!.resolve(true);
    answers[1]!.resolve(false);
    answers[2]!.reject(new Error('no answer'));
    await ticks();
    expect(renewHere).toHaveBeenCalledTimes(3);
    expect(lost).not.toHaveBeenCalled();
    expect(failures).toEqual(['Error: gone', 'Error: gone', 'Error: gone']);
  });

  it.each([
    ['cannot be started', true],
    ['breaks down', false],
  ])('warns, and is renewed on the main thread at each heartbeat, when its thread %s', async (_, atOnce) => {
    const trouble = new Error('out of threads');
    if (atOnce) threads.broken = trouble;
    const lease = leased();
    if (!atOnce) threads.all[0]!.emit('error', trouble);
    expect(warnings).toEqual([expect.stringContaining('out of threads')]);
    await vi.advanceTimersByTimeAsync(20 * heartbeatMs);
    // Once more at first: the thread may have failed with a renewal.
    expect(renewHere).toHaveBeenCalledTimes(21);
    expect(lease.remainingMs()).toBe(leaseMs - marginMs);
    expect(failures).toEqual([]);
    expect(lost).not.toHaveBeenCalled();
    await lease.end();
    expect(end).toHaveBeenCalledOnce();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('is renewed on the main thread while nothing runs: that needs no thread', async () => {
    const lease = idle();
    lease.sustain(leaseMs);
    await vi.advanceTimersByTimeAsync(10 * heartbeatMs);
    expect(threads.all).toEqual([]);
    expect(renewHere).toHaveBeenCalledTimes(10);
    expect(lost).not.toHaveBeenCalled();
    await lease.end();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('has a thread from the moment that something runs, which takes over the rhythm of renewals', async () => {
    const lease = idle();
    await vi.advanceTimersByTimeAsync(3 * heartbeatMs + 500);
    expect(renewHere).toHaveBeenCalledTimes(3);
    lease.sustain(leaseMs + 1);
    lease.sustain(leaseMs + 60_000);
    expect(threads.all).toHaveLength(1);
    expect(threads.all[0]!.options.workerData.firstInMs).toBeCloseTo(heartbeatMs - 500, -1);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(renewHere).toHaveBeenCalledTimes(3);
    await lease.end();
    expect(threads.all[0]!.told).toEqual(['stop']);
  });

  it('goes back to the main thread ten seconds after the last need, and has a new thread at the next', async () => {
    const lease = leased();
    const { clocks } = threads.all[0]!.options.workerData;
    new BigInt64Array(clocks)[0] = process.hrtime.bigint() + BigInt(60e9);
    await vi.advanceTimersByTimeAsync(heartbeatMs);
    lease.sustain(leaseMs + 60_000);
    lease.sustain(leaseMs);
    await vi.advanceTimersByTimeAsync(4 * heartbeatMs);
    expect(threads.all[0]!.told).toEqual([]);
    expect(renewHere).not.toHaveBeenCalled();
    // It looks each quarter of that.
    await vi.advanceTimersByTimeAsync(2_500);
    expect(threads.all[0]!.told).toEqual(['stop']);
    expect(renewHere).toHaveBeenCalledOnce();
    lease.sustain(leaseMs + 60_000);
    expect(threads.all).toHaveLength(2);
    lease.lose();
  });

  it('is renewed on the main thread when its thread ends by itself', async () => {
    const lease = leased();
    threads.all[0]!.emit('exit', 1);
    expect(warnings).toEqual([expect.stringContaining('it has ended')]);
    expect(renewHere).toHaveBeenCalledOnce();
    await lease.end();
  });

  it('keeps its thread when a blocked loop comes to the renewal before it can say that something runs', async () => {
    const lease = leased();
    const { clocks } = threads.all[0]!.options.workerData;
    new BigInt64Array(clocks)[0] = process.hrtime.bigint() + BigInt(90e9);
    lease.sustain(leaseMs + 60_000);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(threads.all[0]!.told).toEqual([]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(threads.all[0]!.told).toEqual(['stop']);
    lease.lose();
  });

  it('is tried on another connection when a renewal on the main thread is not answered', async () => {
    const lease = idle();
    renewHere.mockReturnValueOnce(new Promise<never>(() => {}));
    await vi.advanceTimersByTimeAsync(2 * heartbeatMs);
    expect(renewHere).toHaveBeenCalledTimes(2);
    expect(lease.remainingMs()).toBe(leaseMs - marginMs);
    await lease.end();
  });

  it('is tried again soon when a renewal on the main thread fails', async () => {
    const lease = idle();
    renewHere.mockRejectedValueOnce(new Error('no answer'));
    await vi.advanceTimersByTimeAsync(heartbeatMs);
    expect(renewHere).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(heartbeatMs / 4);
    expect(renewHere).toHaveBeenCalledTimes(2);
    await lease.end();
    expect(vi.getTimerCount()).toBe(0);
  });
});
