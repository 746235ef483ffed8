import { InvalidOptionsError } from '../../lib/errors/configuration.errors.js';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CurrentTask } from '../../lib/engine/current-task.js';
import type { WorkerPoolOptions } from '../../lib/engine/pool-options.js';
import type { TaskDefinition, TaskHandler } from '../../lib/engine/task-definition.js';
import type { Lease } from '../../lib/engine/task-store.js';
import { WorkerPool } from '../../lib/engine/worker-pool.js';
import { LeaseLostError, ShutdownError } from '../../lib/errors/execution.errors.js';
import { MemoryTaskStore } from '../../lib/memory/memory-task-store.js';
import {
  claimedTask,
  deferred,
  definition,
  definitions,
  FakeLease,
  isSettled,
  newTask,
  newTasks,
  queueOf,
  Recorder,
  ticks,
  TransientError,
} from './engine.fixtures.js';

const hourMs = 3_600_000;
const leaseMs = 30_000;
const shutdownGraceMs = 25_000;
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const forever = () => new Promise<never>(() => {});

class TestStore extends MemoryTaskStore {
  override isTransient(error?: unknown): boolean {
    return error instanceof TransientError;
  }
}

describe('a worker pool', () => {
  let store: TestStore;
  let recorder: Recorder;
  let workers = 0;

  beforeEach(async () => {
    vi.useFakeTimers();
    workers = 0;
    recorder = new Recorder();
    store = new TestStore();
    await store.open();
  });

  afterEach(() => {
    vi.restoreAllMocks();
    vi.useRealTimers();
  });

  function poolOf(tasks: readonly TaskDefinition[], options: Partial<WorkerPoolOptions> = {}): WorkerPool {
    return new WorkerPool(
      store,
      () => definitions(...tasks),
      {
        queues: [queueOf()],
        retention: 'removeDone',
        leaseMs,
        heartbeatMs: 10_000,
        shutdownGraceMs,
        maxCrashes: 3,
        version: '1.2.3',
        newId: () => `worker-${++workers}`,
        ...options,
      },
      recorder,
    );
  }

  /** A pool that runs one task already. */
  async function runningOne(handler: TaskHandler, options: Partial<WorkerPoolOptions> = {}) {
    const pool = poolOf([definition(handler)], options);
    const [task] = newTasks(1);
    await store.enqueue([task!]);
    await pool.start();
    await ticks();
    expect(pool.status().queues).toMatchObject([{ running: 1, prefetched: 0 }]);
    return { pool, find: () => store.find(task!.id), id: task!.id };
  }

  /** Drains without any grace. */
  async function ended(pool: WorkerPool): Promise<void> {
    const drained = pool.drain({ graceMs: 0 });
    await vi.advanceTimersByTimeAsync(10_000);
    await drained;
  }

  /** Notes in which order these methods of the store are called. */
  function callsOf(...methods: ('lease' | 'listen' | 'claim' | 'settle' | 'rescue')[]): string[] {
    const calls: string[] = [];
    for (const method of methods) {
      const original = store[method].bind(store) as (...args: unknown[]) => Promise<unknown>;
      vi.spyOn(store, method).mockImplementation((async (...args: unknown[]) => {
        calls.push(method);
        const result = await original(...args);
        if (method !== 'lease') return result;
        const lease = result as Lease;
        const end = lease.end.bind(lease);
        lease.end = () => {
          calls.push('end');
          return end();
        };
        return lease;
      }) as never);
    }
    return calls;
  }

  it('registers as a worker of its queues, listens, claims and runs', async () => {
    const calls = callsOf('lease', 'listen', 'claim');
    const pool = poolOf([definition(() => {})], { queues: [queueOf(), queueOf({ name: 'mail', concurrency: 3 })] });
    await store.enqueue([newTask(), newTask({ queue: 'mail' })]);
    await pool.start();
    await ticks();
    expect(recorder.of('done')).toHaveLength(2);
    expect(calls.slice(0, 4)).toEqual(['lease', 'listen', 'claim', 'claim']);
    expect(store.lease).toHaveBeenCalledExactlyOnceWith(
      {
        id: 'worker-1',
        host: expect.any(String) as string,
        pid: process.pid,
        version: '1.2.3',
        queues: ['default', 'mail'],
      },
      expect.objectContaining({ leaseMs, heartbeatMs: 10_000 }),
      expect.anything(),
    );
    expect(pool.status()).toMatchObject({
      state: 'running',
      workerId: 'worker-1',
      leaseRemainingMs: expect.any(Number) as number,
      leaseAgeMs: expect.any(Number) as number,
      queues: [
        { name: 'default', concurrency: 10, running: 0 },
        { name: 'mail', concurrency: 3, running: 0 },
      ],
      lastError: null,
    });
    await pool.drain();
    expect(pool.status()).toMatchObject({ state: 'stopped', workerId: null, leaseRemainingMs: null, queues: [] });
  });

  it('works no queue when no task is registered', async () => {
    const calls = callsOf('claim');
    const pool = poolOf([]);
    await pool.start();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(pool.status().queues).toEqual([]);
    expect(calls).toEqual([]);
    await pool.drain();
  });

  it('can be started again when it could not start', async () => {
    const pool = poolOf([definition(() => {})]);
    vi.spyOn(store, 'lease').mockRejectedValueOnce(new Error('no answer'));
    await expect(pool.start()).rejects.toThrow('no answer');
    expect(pool.status().state).toBe('stopped');
    await pool.start();
    expect(pool.status().state).toBe('running');
    await pool.drain();
  });

  it('leaves nothing behind when it could start only in part', async () => {
    const calls = callsOf('lease');
    const pool = poolOf([definition(() => {})]);
    vi.spyOn(store, 'listen').mockRejectedValueOnce(new Error('no answer'));
    await expect(pool.start()).rejects.toThrow('no answer');
    expect(pool.status()).toMatchObject({ state: 'stopped', workerId: null });
    expect(calls).toEqual(['lease', 'end']);
    expect(vi.getTimerCount()).toBe(0);
    await pool.start();
    expect(pool.status()).toMatchObject({ state: 'running', workerId: 'worker-2' });
    await pool.drain();
  });

  it('starts, stops and drains once, however often it is told', async () => {
    const calls = callsOf('lease');
    const pool = poolOf([definition(() => {})]);
    await Promise.all([pool.start(), pool.start()]);
    await Promise.all([pool.stop(), pool.stop(), pool.drain(), pool.drain()]);
    await Promise.all([pool.drain(), pool.stop()]);
    expect(calls).toEqual(['lease', 'end']);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('claims again when it is started after a stop, under the same lease', async () => {
    const pool = poolOf([definition(() => {})]);
    await pool.start();
    await pool.stop();
    await store.enqueue(newTasks(1));
    await vi.advanceTimersByTimeAsync(5_000);
    expect(pool.status()).toMatchObject({ state: 'stopping', workerId: 'worker-1' });
    expect(recorder.of('done')).toEqual([]);
    await pool.start();
    await ticks();
    expect(recorder.of('done')).toHaveLength(1);
    expect(pool.status()).toMatchObject({ state: 'running', workerId: 'worker-1' });
    await pool.drain();
  });

  it('runs afterwards when it is started while it drains', async () => {
    const pool = poolOf([definition(() => {})]);
    await pool.start();
    await Promise.all([pool.drain(), pool.start()]);
    expect(pool.status()).toMatchObject({ state: 'running', workerId: 'worker-2', queues: [{ name: 'default' }] });
    await store.enqueue(newTasks(1));
    await ticks();
    expect(recorder.of('done')).toHaveLength(1);
    await pool.drain();
  });

  it('wakes for a task that was enqueued here and is due later', async () => {
    const pool = poolOf([definition(() => {})], { queues: [queueOf({ pollIntervalMs: hourMs })] });
    await pool.start();
    await store.enqueue([newTask({ due: { inMs: 500 } })]);
    pool.wake('default', 500);
    pool.wake('another queue');
    await vi.advanceTimersByTimeAsync(600);
    expect(recorder.of('done')).toHaveLength(1);
    await pool.drain();
  });

  describe('when it drains', () => {
    it('waits for what runs, with its lease renewed, and settles it before the lease ends', async () => {
      const calls = callsOf('lease', 'claim', 'settle');
      const { pool, find } = await runningOne(() => sleep(55_000), { shutdownGraceMs: 60_000 });
      const drained = pool.drain();
      await vi.advanceTimersByTimeAsync(54_999);
      expect(pool.status().state).toBe('draining');
      expect(pool.status().leaseRemainingMs).toBeGreaterThan(0);
      expect(await isSettled(drained)).toBe(false);
      await vi.advanceTimersByTimeAsync(1);
      await drained;
      expect(await find()).toMatchObject({ state: 'done', attempt: 1 });
      expect(calls).toEqual(['lease', 'claim', 'settle', 'end']);
      expect(recorder.logs.at(-1)).toBe('log: Stopped: 1 running tasks finished, 0 went back to their queues.');
      expect(vi.getTimerCount()).toBe(0);
    });

    it('aborts what is unfinished after the grace and gives it back without using up a retry', async () => {
      let current!: CurrentTask;
      const { pool, find } = await runningOne((_, task) => {
        current = task;
        return forever();
      });
      const { signal } = current;
      const drained = pool.drain();
      await vi.advanceTimersByTimeAsync(shutdownGraceMs - 1);
      expect(signal.aborted).toBe(false);
      await vi.advanceTimersByTimeAsync(1);
      await drained;
      expect(signal.reason).toBeInstanceOf(ShutdownError);
      expect(await find()).toMatchObject({ state: 'ready', attempt: 0, retries: 0, workerId: null, attempts: [] });
      expect(recorder.logs.at(-1)).toBe('log: Stopped: 0 running tasks finished, 1 went back to their queues.');
    });

    it('starts nothing any more', async () => {
      const handler = vi.fn(() => sleep(1_000));
      const { pool } = await runningOne(handler);
      const drained = pool.drain();
      await store.enqueue(newTasks(5));
      await vi.advanceTimersByTimeAsync(5_000);
      await drained;
      expect(handler).toHaveBeenCalledOnce();
    });

    it('takes the grace that it is given', async () => {
      const { pool, find } = await runningOne(forever);
      const drained = pool.drain({ graceMs: 100 });
      await vi.advanceTimersByTimeAsync(100);
      await drained;
      expect(await find()).toMatchObject({ state: 'ready' });
    });

    it.each([{ graceMs: Number.NaN }, { graceMs: -1 }, { graceMs: 'soon' }, { graceMS: 1 }])(
      'is refused, and stops nothing, with %o',
      async (options) => {
        const pool = poolOf([definition(forever)]);
        await pool.start();
        await expect(pool.drain(options as { graceMs: number })).rejects.toThrow(InvalidOptionsError);
        expect(pool.status().state).toBe('running');
        await pool.drain({ graceMs: 0 });
      },
    );

    it('waits as long as it takes with a grace without end', async () => {
      const { pool, find } = await runningOne(() => sleep(hourMs - 1), {
        queues: [queueOf({ executionTimeoutMs: hourMs })],
      });
      const drained = pool.drain({ graceMs: Infinity });
      await vi.advanceTimersByTimeAsync(hourMs - 1);
      await drained;
      expect(await find()).toMatchObject({ state: 'done' });
    });

    it('shortens its grace when it is told so meanwhile', async () => {
      const { pool, find } = await runningOne(forever);
      const drained = pool.drain();
      await vi.advanceTimersByTimeAsync(1_000);
      const again = pool.drain({ graceMs: 0 });
      await vi.advanceTimersByTimeAsync(1);
      await Promise.all([drained, again]);
      expect(await find()).toMatchObject({ state: 'ready' });
    });

    it('does not wait for a database that does not answer', async () => {
      const { pool } = await runningOne(() => sleep(1_000));
      vi.spyOn(store, 'settle').mockRejectedValue(new TransientError('no answer'));
      vi.spyOn(store, 'claim').mockReturnValue(forever());
      vi.spyOn(store, 'rescue').mockReturnValue(forever());
      pool.wake();
      const drained = pool.drain();
      await vi.advanceTimersByTimeAsync(shutdownGraceMs + 5_000);
      expect(await isSettled(drained)).toBe(true);
    });

    it('ends the lease and all that belongs to it when the database comes back after all', async () => {
      const calls = callsOf('lease', 'rescue');
      const { pool, find } = await runningOne(() => sleep(1_000));
      const settle = vi.spyOn(store, 'settle').mockRejectedValue(new TransientError('no answer'));
      const drained = pool.drain();
      await vi.advanceTimersByTimeAsync(10_000);
      expect(await isSettled(drained)).toBe(true);
      await pool.start();
      expect(pool.status().workerId).toBe('worker-2');
      settle.mockRestore();
      await vi.advanceTimersByTimeAsync(5_000);
      expect(await find()).toMatchObject({ state: 'done' });
      expect(calls.filter((call) => call !== 'rescue')).toEqual(['lease', 'lease', 'end']);
      const rescues = calls.length;
      // The new worker goes on under its own lease and with its own rescuer, one of each.
      await vi.advanceTimersByTimeAsync(60_000);
      expect(pool.status()).toMatchObject({ state: 'running', workerId: 'worker-2' });
      expect(pool.status().leaseRemainingMs).toBeGreaterThan(0);
      expect(calls.length - rescues).toBeLessThanOrEqual(8);
      expect(calls.length - rescues).toBeGreaterThanOrEqual(4);
      await pool.drain();
      expect(vi.getTimerCount()).toBe(0);
    });

    it('ends while a lost lease cannot be replaced', async () => {
      const fake = new FakeLease('worker-1');
      const lease = vi.spyOn(store, 'lease').mockResolvedValueOnce(fake);
      const pool = poolOf([definition(() => {})]);
      await pool.start();
      lease.mockRejectedValue(new Error('no answer'));
      lease.mock.calls[0]![2].lost();
      await vi.advanceTimersByTimeAsync(60_000);
      const drained = pool.drain();
      await vi.advanceTimersByTimeAsync(10_000);
      expect(await isSettled(drained)).toBe(true);
      expect(vi.getTimerCount()).toBe(0);
    });
  });

  describe('when its lease is lost', () => {
    it('gives up what ran under it and comes back as a new worker', async () => {
      const signals: AbortSignal[] = [];
      const lease = vi.spyOn(store, 'lease');
      const { pool, id } = await runningOne((_, task) => {
        signals.push(task.signal);
        return task.attempt === 1 ? forever() : undefined;
      });
      const held = (await lease.mock.results[0]!.value) as Lease;
      held.lose();
      await ticks();
      expect(signals[0]!.reason).toBeInstanceOf(LeaseLostError);
      expect(recorder.of('lost')).toMatchObject([{ id, attempt: 1 }]);
      expect(recorder.logs).toContain('warn: The lease of worker worker-1 is lost; its running tasks are given up.');
      expect(pool.status()).toMatchObject({ state: 'running', workerId: 'worker-2' });
      // The next rescue finds what the first worker left, and wakes the queue.
      await vi.advanceTimersByTimeAsync(12_500);
      expect(recorder.of('rescued')).toMatchObject([{ id, crashes: 1, quarantined: false }]);
      expect(recorder.of('done')).toMatchObject([{ id, attempt: 2 }]);
      await pool.drain();
    });

    it('gives its lease up when it hears that another process took it for dead', async () => {
      const listen = vi.spyOn(store, 'listen');
      const { pool } = await runningOne(forever);
      const [hear] = listen.mock.calls[0]!;
      hear({ kind: 'buried', workerId: 'another' });
      expect(pool.status().workerId).toBe('worker-1');
      hear({ kind: 'buried', workerId: 'worker-1' });
      await ticks();
      expect(pool.status().workerId).toBe('worker-2');
      expect(recorder.of('lost')).toHaveLength(1);
      await pool.drain();
    });

    it('sustains the new lease for the first task that it runs', async () => {
      const leases = [new FakeLease('worker-1'), new FakeLease('worker-2')];
      const lease = vi.spyOn(store, 'lease');
      for (const one of leases) lease.mockResolvedValueOnce(one);
      const claim = vi.spyOn(store, 'claim').mockResolvedValue([]);
      const pool = poolOf([definition(forever)]);
      const claimed = (id: string, timeoutMs: number) => [claimedTask({ id, timeoutMs })];
      claim.mockResolvedValueOnce(claimed('long', 60_000));
      await pool.start();
      await ticks();
      expect(leases[0]!.sustained).toEqual([60_000 + leaseMs]);
      leases[0]!.remaining = 0;
      lease.mock.calls[0]![2].lost();
      claim.mockResolvedValueOnce(claimed('short', 10_000));
      pool.wake();
      await ticks();
      expect(leases[1]!.sustained).toEqual([10_000 + leaseMs]);
      await ended(pool);
    });
  });

  it('sustains its lease for as long as what runs may take', async () => {
    const fake = new FakeLease();
    vi.spyOn(store, 'lease').mockResolvedValueOnce(fake);
    const claimed = [10_000, 60_000, 20_000].map((timeoutMs) => claimedTask({ timeoutMs }));
    vi.spyOn(store, 'claim').mockResolvedValueOnce(claimed).mockResolvedValue([]);
    vi.spyOn(store, 'holdings').mockResolvedValue(claimed.map((task) => ({ ...task, cancelRequested: false })));
    const pool = poolOf([definition(forever, { maxRetries: 0 })]);
    await pool.start();
    await ticks();
    expect(fake.sustained).toEqual([10_000 + leaseMs, 60_000 + leaseMs]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(fake.sustained.at(-1)).toBe(59_000 + leaseMs);
    // When nothing runs, a loop that is blocked may hold the lease no longer than the lease's own time.
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fake.sustained.at(-1)).toBe(leaseMs);
    await pool.drain();
  });

  describe('keeps a slot for a task that is being enqueued', () => {
    const handed = async (handTo: string) => {
      const task = newTask({ handTo });
      const [{ handedAt } = {}] = await store.enqueue([task]);
      expect(handedAt).toBeTypeOf('number');
      return claimedTask({ id: task.id });
    };

    it('which is stored as claimed by its worker, and runs', async () => {
      const pool = poolOf([definition(() => {})]);
      expect(pool.reserve('default', 'work')).toBeUndefined();
      await pool.start();
      await ticks();
      expect(pool.reserve('elsewhere', 'work')).toBeUndefined();
      expect(pool.reserve('default', 'unknown')).toBeUndefined();
      const slot = pool.reserve('default', 'work')!;
      expect(slot.workerId).toBe('worker-1');
      const task = await handed(slot.workerId);
      slot.accept(task);
      await ticks();
      expect(recorder.of('done')).toMatchObject([{ id: task.id }]);
      await pool.drain();
      expect(pool.reserve('default', 'work')).toBeUndefined();
    });

    it('for which one that commits with its transaction waits until it is stored for sure', async () => {
      const transaction = {} as NonNullable<TaskDefinition['transaction']>;
      const pool = poolOf([definition(forever), definition(forever, { name: 'paid', transaction })]);
      await pool.start();
      await ticks();
      const slots = ['work', 'paid'].map((name) => pool.reserve('default', name)!);
      expect(slots.map(({ early }) => early)).toEqual([true, false]);
      for (const slot of slots) slot.decline();
      await pool.drain();
    });

    it('and gives the task back when it has stopped meanwhile', async () => {
      const pool = poolOf([definition(() => {})]);
      await pool.start();
      await ticks();
      const slot = pool.reserve('default', 'work')!;
      const task = await handed(slot.workerId);
      await pool.stop();
      slot.accept(task);
      await ticks();
      expect(await store.find(task.id)).toMatchObject({ state: 'ready', attempt: 0 });
      expect(recorder.of('started')).toEqual([]);
      await pool.drain();
    });

    it('and finds the task of an enqueue whose reply was lost, though nothing runs', async () => {
      const pool = poolOf([definition(() => {})], { queues: [queueOf({ pollIntervalMs: hourMs })] });
      await pool.start();
      await ticks();
      const slot = pool.reserve('default', 'work')!;
      const task = await handed(slot.workerId);
      slot.unanswered();
      slot.decline();
      await vi.advanceTimersByTimeAsync(3_000);
      expect(recorder.of('done')).toMatchObject([{ id: task.id, attempt: 1 }]);
      await pool.drain();
    });
  });

  it('finds a cancel whose hint was lost within a second', async () => {
    vi.spyOn(store, 'listen').mockResolvedValue({ live: false, stop: async () => {} });
    const { pool, id, find } = await runningOne(forever);
    expect(await store.cancel(id, () => Infinity)).toBe('requested');
    await vi.advanceTimersByTimeAsync(1_000);
    expect(recorder.of('cancelled')).toMatchObject([{ id }]);
    expect(await find()).toMatchObject({ state: 'cancelled' });
    await pool.drain();
  });

  it('cancels at once when the hint comes', async () => {
    const { pool, id } = await runningOne(forever);
    await store.cancel(id, () => Infinity);
    await ticks();
    expect(recorder.of('cancelled')).toMatchObject([{ id }]);
    await pool.drain();
  });

  it('asks for what it holds once at a time, and survives that it fails', async () => {
    const { pool } = await runningOne(forever);
    const answer = deferred<never[]>();
    const ask = vi.spyOn(store, 'holdings').mockReturnValueOnce(answer.promise);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(ask).toHaveBeenCalledOnce();
    answer.reject(new Error('no answer'));
    await ticks();
    expect(pool.status().lastError).toMatchObject({ doing: 'look at what this worker holds', message: 'no answer' });
    await vi.advanceTimersByTimeAsync(500);
    expect(ask).toHaveBeenCalledTimes(2);
    await ended(pool);
  });

  it('tells the rescuer and the expirer for how long each queue keeps what they end, and all others', async () => {
    const rescue = vi.spyOn(store, 'rescue');
    const expire = vi.spyOn(store, 'expire');
    const queues = [
      queueOf(),
      queueOf({ name: 'a', retention: 'removeAll' }),
      queueOf({ name: 'b', retention: { failed: 5_000, cancelled: 6_000 } }),
    ];
    const tasks = [definition(() => {}), definition(() => {}, { name: 'pay', deadLetter: 'dead' })];
    const retention = { failed: 7_000, cancelled: 'none' } as const;
    const pool = poolOf(tasks, { queues, maxCrashes: 7, retention });
    await pool.start();
    await vi.advanceTimersByTimeAsync(2_000);
    const keepFailedMs = new Map([
      ['default', Infinity],
      ['a', null],
      ['b', 5_000],
    ]);
    const deadLetters = { pay: 'dead' };
    expect(rescue).toHaveBeenCalledWith({ leaseMs, maxCrashes: 7, keepFailedMs, keepOthersMs: 7_000, deadLetters });
    const keepCancelledMs = new Map([...keepFailedMs, ['b', 6_000]]);
    expect(expire).toHaveBeenCalledWith({ keepCancelledMs, keepOthersMs: null });
    await pool.drain();
  });

  it('starts without a look at what is to be removed when it keeps nothing for a time', async () => {
    const prune = vi.spyOn(store, 'prune');
    const pool = poolOf([definition(() => {})]);
    await pool.start();
    expect(prune).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(prune).toHaveBeenCalledOnce();
    await pool.drain();
  });

  it('has what is kept for a time removed, by a look before its first claim and at its pace', async () => {
    const calls: string[] = [];
    for (const call of ['prune', 'claim'] as const) {
      const original = store[call].bind(store) as (...args: unknown[]) => never;
      vi.spyOn(store, call).mockImplementation((...args: unknown[]) => {
        calls.push(call);
        return original(...args);
      });
    }
    const queues = [
      queueOf({ retention: { failed: 7_000, done: 5_000 } }),
      queueOf({ name: 'a', retention: { done: 5_000 } }),
    ];
    const pool = poolOf([definition(() => {})], { queues, retention: { cancelled: 6_000 } });
    await pool.start();
    expect(calls[0]).toBe('prune');
    const request = { keepMs: [5_000, 6_000, 7_000], staleMs: 300_000, signal: expect.any(AbortSignal) as AbortSignal };
    expect(store.prune).toHaveBeenCalledExactlyOnceWith({ ...request, holder: expect.any(String) as string });
    await vi.advanceTimersByTimeAsync(1.25 * 600_000);
    expect(store.prune).toHaveBeenCalledTimes(2);
    await pool.drain();
    await vi.advanceTimersByTimeAsync(2 * 600_000);
    expect(store.prune).toHaveBeenCalledTimes(2);
  });

  it('starts working though the look for what is to be removed does not come back', async () => {
    vi.spyOn(store, 'prune').mockReturnValue(new Promise(() => {}));
    const pool = poolOf([definition(() => {})]);
    const started = pool.start();
    await vi.advanceTimersByTimeAsync(500);
    await started;
    expect(pool.status().state).toBe('running');
    const drained = pool.drain();
    await vi.advanceTimersByTimeAsync(2_500);
    await drained;
  });

  it('logs trouble with the store once in half a minute and shows the latest', async () => {
    const claim = vi.spyOn(store, 'claim').mockRejectedValue(new Error('no answer'));
    const pool = poolOf([definition(() => {})]);
    await pool.start();
    await vi.advanceTimersByTimeAsync(25_000);
    const lines = () => recorder.logs.filter((line) => line.startsWith('error'));
    expect(claim.mock.calls.length).toBeGreaterThan(5);
    expect(lines()).toEqual(['error: Could not claim from queue "default", trying again: no answer']);
    await vi.advanceTimersByTimeAsync(12_000);
    expect(lines()).toHaveLength(2);
    expect(pool.status()).toMatchObject({
      state: 'running',
      lastError: { doing: 'claim from queue "default"', message: 'no answer', at: expect.any(Date) as Date },
    });
    await pool.drain();
  });

  it('shows whether the store answers, since its latest failure', async () => {
    const pool = poolOf([definition(() => {})], { queues: [queueOf({ pollIntervalMs: 1_000 })] });
    await pool.start();
    await ticks();
    expect(pool.status().connection).toBe('up');
    const claim = vi.spyOn(store, 'claim').mockRejectedValue(new Error('no answer'));
    pool.wake();
    await ticks();
    expect(pool.status().connection).toBe('down');
    claim.mockRestore();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(pool.status()).toMatchObject({ connection: 'up', lastError: { message: 'no answer' } });
    await pool.drain();
  });

  it('takes a look for dead workers for an answer too, when it claims nothing', async () => {
    const pool = poolOf([]);
    const rescue = vi.spyOn(store, 'rescue').mockRejectedValueOnce(new Error('no answer'));
    await pool.start();
    await ticks();
    expect(pool.status().connection).toBe('down');
    await vi.advanceTimersByTimeAsync(12_500);
    expect(rescue).toHaveBeenCalledTimes(2);
    expect(pool.status().connection).toBe('up');
    await pool.drain();
  });

  it('shows whether hints of other processes arrive', async () => {
    const listening = { live: true, stop: async () => {} };
    vi.spyOn(store, 'listen').mockResolvedValue(listening);
    const pool = poolOf([definition(() => {})]);
    expect(pool.status().notified).toBe(false);
    await pool.start();
    expect(pool.status().notified).toBe(true);
    listening.live = false;
    expect(pool.status().notified).toBe(false);
    await pool.drain();
  });

  it('warns of a lease with less protection than usual, without taking that for trouble with the store', async () => {
    const lease = vi.spyOn(store, 'lease');
    const pool = poolOf([definition(() => {})]);
    await pool.start();
    lease.mock.calls[0]![2].weakened?.('There is no thread.');
    expect(recorder.logs.at(-1)).toBe('warn: There is no thread.');
    expect(pool.status()).toMatchObject({ connection: 'up', lastError: null });
    await pool.drain();
  });

  it('does not cancel an attempt for a hint that was meant for an earlier one', async () => {
    const listen = vi.spyOn(store, 'listen');
    const { pool, id } = await runningOne(forever);
    listen.mock.calls[0]![0]({ kind: 'cancel', id });
    await ticks();
    expect(recorder.of('cancelled')).toEqual([]);
    expect(pool.status().queues).toMatchObject([{ running: 1 }]);
    await ended(pool);
  });

  it.each([
    [1, undefined],
    [3, { crashes: 2, takeOne: true }],
  ])('takes for suspects what fails at its next crash, when %i are too many', async (maxCrashes, suspects) => {
    const claim = vi.spyOn(store, 'claim');
    const pool = poolOf([definition(() => {})], { maxCrashes });
    await pool.start();
    await ticks();
    expect(claim.mock.calls[0]![0].suspects).toEqual(suspects);
    await pool.drain();
  });

  it('holds one suspect at a time over all its queues, and looks in all of them for the next', async () => {
    const queues = [queueOf(), queueOf({ name: 'mail' })];
    const gates = new Map(queues.map(({ name }) => [name, deferred()]));
    const claim = vi.spyOn(store, 'claim').mockImplementation(async ({ queue, suspects }) => {
      return suspects?.takeOne ? [claimedTask({ id: queue, queue, crashes: 2 })] : [];
    });
    vi.spyOn(store, 'holdings').mockResolvedValue(
      queues.map(({ name }) => ({ id: name, queue: name, claimSeq: 1, cancelRequested: false })),
    );
    const pool = poolOf([definition((_, task) => gates.get(task.queue)!.promise)], { queues });
    await pool.start();
    await ticks();
    const held = () => pool.status().queues.map(({ running }) => running);
    expect(held()).toEqual([1, 0]);
    claim.mockImplementation(async ({ queue, suspects }) => {
      return suspects?.takeOne && queue === 'mail' ? [claimedTask({ id: queue, queue, crashes: 2 })] : [];
    });
    gates.get('default')!.resolve();
    await ticks();
    expect(held()).toEqual([0, 0]);
    // The first one to look finds none; the other, which came second, looks at its next poll.
    await vi.advanceTimersByTimeAsync(5_500);
    expect(held()).toEqual([0, 1]);
    gates.get('mail')!.resolve();
    await pool.drain();
  });

  it('says that it finds work by polling only when no hints will come', async () => {
    const listen = vi.spyOn(store, 'listen');
    const pool = poolOf([definition(() => {})]);
    await pool.start();
    listen.mock.calls[0]![0]({ kind: 'deaf', reason: 'a transaction pooler' });
    expect(recorder.logs.at(-1)).toBe('warn: New work is found by polling only: a transaction pooler.');
    await pool.drain();
  });
});
