import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Backoff } from '../../lib/engine/backoff.js';
import type { CurrentTask } from '../../lib/engine/current-task.js';
import { LaneKeeper } from '../../lib/engine/lane-keeper.js';
import { type LimitedClaim, noControl } from '../../lib/engine/limits.js';
import { QueueWorker } from '../../lib/engine/queue-worker.js';
import type { QueueWorkerContext } from '../../lib/engine/queue-worker-context.js';
import { Settler, type Settling, type Verdict } from '../../lib/engine/settler.js';
import { Suspects } from '../../lib/engine/suspects.js';
import type { ClaimedTask } from '../../lib/engine/task.js';
import type { QueueDefinition, TaskDefinition, TaskHandler } from '../../lib/engine/task-definition.js';
import type { ClaimRequest, Lease, SettledClaim } from '../../lib/engine/task-store.js';
import { MemoryTaskStore } from '../../lib/memory/memory-task-store.js';
import {
  claimedTask,
  deferred,
  definition,
  definitions,
  FakeLease,
  identity,
  isSettled,
  newTask,
  newTasks,
  queueOf,
  Recorder,
  ticks,
} from './engine.fixtures.js';

const hourMs = 3_600_000;
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const forever = () => new Promise<never>(() => {});

/** A worker over a store in memory, with the pool around it that it needs. */
async function setUp(
  tasks: readonly TaskDefinition[],
  queue: Partial<QueueDefinition> = {},
  context: Partial<QueueWorkerContext> = {},
) {
  const store = new MemoryTaskStore();
  await store.open();
  const claim = vi.spyOn(store, 'claim');
  const recorder = new Recorder();
  const lease = await store.lease(
    identity(),
    { leaseMs: 24 * hourMs, heartbeatMs: hourMs },
    { lost() {}, renewalFailed() {} },
  );
  const failures: string[] = [];
  const starting = vi.fn();
  const worker = new QueueWorker(queueOf(queue), definitions(...tasks), {
    store,
    settler: new Settler(store, (doing) => failures.push(doing)),
    reporter: recorder,
    lease: () => Promise.resolve(lease),
    hinted: () => false,
    starting,
    suspects: new Suspects(0, () => {}),
    lanes: new LaneKeeper(store, hourMs, (doing) => failures.push(doing)),
    answered: () => {},
    failed: (doing, error) => failures.push(`${doing}: ${String(error)}`),
    ...context,
  });
  return { store, claim, recorder, lease, failures, starting, worker };
}

/** A settler that answers as the test says, and is overloaded when it says so. */
function fakeSettler(verdict: Verdict) {
  const settle = vi.fn<Settler['settle']>(async () => verdict);
  const write = (settling: Settling) =>
    void settle(settling.lease, settling.settlement).then((state) => settling.written(state));
  return { overloaded: false, relieved: forever, settle, write };
}

describe('a queue worker', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it('never runs more than its concurrency, and runs everything once', async () => {
    const duration = fc.integer({ min: 0, max: 50 });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 6 }),
        fc.array(duration, { minLength: 1, maxLength: 30 }),
        async (concurrency, durations) => {
          let running = 0;
          let most = 0;
          let runs = 0;
          const handler = async (payload: unknown) => {
            runs++;
            most = Math.max(most, ++running);
            await sleep(payload as number);
            running--;
          };
          const { store, claim, worker } = await setUp([definition(handler)], { concurrency });
          claim.mockImplementation(async (request: ClaimRequest) => {
            await sleep(3);
            return MemoryTaskStore.prototype.claim.call(store, request);
          });
          await store.enqueue(durations.map((ms) => newTask({ payload: String(ms) })));
          worker.start();
          await vi.advanceTimersByTimeAsync(durations.length * 60 + 100);
          expect(most).toBeLessThanOrEqual(concurrency);
          expect(runs).toBe(durations.length);
          for (const [{ limit, startNow }] of claim.mock.calls) {
            expect(limit).toBeGreaterThanOrEqual(1);
            expect(startNow).toBeLessThanOrEqual(concurrency);
          }
          expect(await store.counts()).toMatchObject({ ready: 0, running: 0, done: durations.length });
          await worker.stop();
        },
      ),
      { numRuns: 50 },
    );
  });

  it('claims for its free slots, under its lease, the names that it knows', async () => {
    const { store, claim, lease, worker } = await setUp([definition(forever), definition(forever, { name: 'other' })], {
      concurrency: 3,
    });
    await store.enqueue([...newTasks(2), newTask({ name: 'unknown' }), newTask({ queue: 'elsewhere' })]);
    worker.start();
    await ticks();
    const request = { workerId: lease.workerId, queue: 'default', names: ['work', 'other'] };
    const early: unknown = expect.any(Function);
    expect(claim.mock.calls).toEqual([[{ ...request, limit: 3, startNow: 3, early }]]);
    expect(worker.running).toBe(2);
    worker.wake();
    await ticks();
    expect(claim.mock.lastCall).toEqual([{ ...request, limit: 1, startNow: 1, early }]);
    await worker.stop();
  });

  it('does not claim while all its slots are taken, and claims at once when one is free', async () => {
    const handler = (payload: unknown) => sleep(payload as number);
    const { store, claim, worker } = await setUp([definition(handler)], { concurrency: 2 });
    await store.enqueue([newTask({ payload: '1000' }), newTask({ payload: '5000' }), newTask({ payload: '5000' })]);
    worker.start();
    await vi.advanceTimersByTimeAsync(999);
    worker.wake();
    await ticks();
    expect(claim).toHaveBeenCalledOnce();
    await vi.advanceTimersByTimeAsync(1);
    expect(claim).toHaveBeenCalledTimes(2);
    expect(claim.mock.lastCall![0].limit).toBe(1);
    expect(worker.running).toBe(2);
    await worker.stop();
  });

  it('claims again without a pause as long as claims come back full', async () => {
    const { store, recorder, worker } = await setUp([definition(() => {})], { concurrency: 2, pollIntervalMs: hourMs });
    await store.enqueue(newTasks(20));
    worker.start();
    await ticks(500);
    expect(recorder.of('done')).toHaveLength(20);
    await worker.stop();
  });

  it('waits for the disk only with a claim that follows another at once', async () => {
    const { store, claim, worker } = await setUp([definition(() => {})], { concurrency: 2, pollIntervalMs: hourMs });
    await store.enqueue(newTasks(3));
    worker.start();
    await ticks(500);
    worker.wake();
    await ticks();
    expect(claim.mock.calls.map(([{ early }]) => early !== undefined)).toEqual([true, false, true]);
    await worker.stop();
  });

  describe('starts what a claim brings that is not durable yet', () => {
    async function startEarly() {
      const context = await setUp([definition(() => {})], { pollIntervalMs: hourMs });
      const { store, claim, recorder, worker } = context;
      vi.spyOn(store, 'isTransient').mockReturnValue(true);
      const durable = deferred();
      claim.mockImplementation(async (request: ClaimRequest) => {
        request.early?.(durable.promise);
        return MemoryTaskStore.prototype.claim.call(store, request);
      });
      const settle = vi.spyOn(store, 'settle');
      await store.enqueue(newTasks(2));
      worker.start();
      await vi.advanceTimersByTimeAsync(1_000);
      expect(recorder.of('started')).toHaveLength(2);
      expect(worker.running).toBe(0);
      expect(settle).not.toHaveBeenCalled();
      return { ...context, durable, settle };
    }

    it('and writes their outcomes, in one statement, once it is', async () => {
      const { recorder, worker, durable, settle } = await startEarly();
      durable.resolve();
      await ticks();
      expect(settle.mock.calls.map(([, settlements]) => settlements.length)).toEqual([2]);
      expect(recorder.of('done')).toHaveLength(2);
      await worker.stop();
    });

    it('and waits for the disk with the next ones as long as it is not', async () => {
      const { store, claim, recorder, worker, durable } = await startEarly();
      await store.enqueue(newTasks(1));
      worker.wake();
      await ticks();
      durable.resolve();
      await ticks();
      await store.enqueue(newTasks(1));
      worker.wake();
      await ticks();
      expect(claim.mock.calls.map(([{ early }]) => early !== undefined)).toEqual([true, false, true]);
      expect(recorder.of('done')).toHaveLength(4);
      await worker.stop();
    });

    it('and ends one at once of which an audit finds that the store has forgotten it', async () => {
      const { store, claim, recorder, lease, worker } = await setUp([definition(forever)], { pollIntervalMs: hourMs });
      claim.mockImplementation(async (request: ClaimRequest) => {
        request.early?.(forever());
        return MemoryTaskStore.prototype.claim.call(store, request);
      });
      await store.enqueue(newTasks(1));
      worker.start();
      await vi.advanceTimersByTimeAsync(10);
      expect(worker.running).toBe(1);
      worker.loseOthers(lease, new Map(), performance.now());
      await ticks();
      expect(recorder.of('lost')).toHaveLength(1);
      await worker.stop();
    });

    it('and does not start, once nobody knows, what waits for a slot', async () => {
      const ends = deferred();
      const { store, claim, recorder, worker } = await setUp([definition(() => ends.promise)], { concurrency: 1 });
      const durable = deferred();
      // More than was asked for: what is claimed ahead.
      claim.mockImplementationOnce(async (request: ClaimRequest) => {
        request.early?.(durable.promise);
        return MemoryTaskStore.prototype.claim.call(store, { ...request, limit: 3 });
      });
      claim.mockResolvedValue([]);
      const settle = vi.spyOn(store, 'settle');
      await store.enqueue(newTasks(3));
      worker.start();
      await ticks();
      durable.reject(new Error('no answer'));
      await ticks();
      ends.resolve();
      await ticks();
      expect(recorder.of('started')).toHaveLength(1);
      const kinds = settle.mock.calls.flatMap(([, settlements]) => settlements.map(({ kind }) => kind));
      expect(kinds.toSorted()).toEqual(['finish', 'release', 'release']);
      await worker.stop();
    });

    it('and does not start it when nobody knows any more after it has looked for more meanwhile', async () => {
      const rated = { name: 'rated', queue: 'elsewhere', rateLimit: { max: 1, perMs: hourMs } };
      const tasks = [definition(() => {}), definition(forever, rated)];
      const { store, claim, recorder, worker } = await setUp(tasks, { pollIntervalMs: hourMs });
      vi.spyOn(store, 'isTransient').mockReturnValue(true);
      const [durable, look] = [deferred(), deferred<LimitedClaim>()];
      claim.mockImplementation(async (request: ClaimRequest) => {
        request.early?.(durable.promise);
        return MemoryTaskStore.prototype.claim.call(store, request);
      });
      vi.spyOn(store, 'claimLimited').mockReturnValueOnce(look.promise);
      const settle = vi.spyOn(store, 'settle');
      await store.enqueue(newTasks(1));
      worker.start();
      await ticks();
      durable.reject(new Error('no answer'));
      await ticks();
      claim.mockResolvedValue([]);
      look.resolve({ tasks: [], nextInMs: null });
      await ticks();
      expect(recorder.of('started')).toEqual([]);
      expect(settle.mock.calls).toMatchObject([[expect.any(String), [{ kind: 'release' }]]]);
      await worker.stop();
    });

    it('and tells that they are lost if nobody knows, and no try to write their outcomes finds them', async () => {
      const { recorder, worker, failures, durable, settle } = await startEarly();
      settle.mockRejectedValueOnce(new Error('lost reply')).mockResolvedValueOnce(new Map());
      durable.reject(new Error('no answer'));
      await vi.advanceTimersByTimeAsync(100);
      expect(settle).toHaveBeenCalledTimes(2);
      expect(recorder.of('done')).toEqual([]);
      expect(recorder.of('lost')).toHaveLength(2);
      expect(failures[0]).toBe('have claims from queue "default" on the disk: Error: no answer');
      await worker.stop();
    });
  });

  it('polls at its jittered pace when nobody wakes it', async () => {
    const { claim, worker } = await setUp([definition(() => {})], { pollIntervalMs: 1_000 });
    worker.start();
    await ticks();
    for (let i = 1; i <= 20; i++) {
      await vi.advanceTimersByTimeAsync(899);
      expect(claim).toHaveBeenCalledTimes(i);
      await vi.advanceTimersToNextTimerAsync();
      expect(claim).toHaveBeenCalledTimes(i + 1);
    }
    await worker.stop();
  });

  it('gives back what has expired while it waited for a slot, and starts what has not', async () => {
    const started: unknown[] = [];
    const handler = (payload: unknown) => {
      started.push(payload);
      return sleep(100);
    };
    const { store, claim, worker, recorder } = await setUp([definition(handler)], { concurrency: 1 });
    // More than was asked for: what is claimed ahead.
    claim.mockImplementation((request) => MemoryTaskStore.prototype.claim.call(store, { ...request, limit: 3 }));
    const give = (payload: string, expiresInMs: number) => newTask({ payload, expiresInMs });
    await store.enqueue([give('1', 99), give('2', 100), give('3', 101)]);
    worker.start();
    await vi.advanceTimersByTimeAsync(99);
    expect(started).toEqual([1]);
    await vi.advanceTimersByTimeAsync(50);
    expect(started).toEqual([1, 3]);
    expect(await store.counts()).toMatchObject({ ready: 1, running: 1, done: 1 });
    await store.expire({ keepCancelledMs: new Map() });
    expect(await store.counts()).toMatchObject({ ready: 0, cancelled: 1 });
    expect(recorder.of('started')).toHaveLength(2);
    await worker.stop();
  });

  it('never polls faster for an interval that no timer can hold', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.999);
    const set = vi.spyOn(globalThis, 'setTimeout');
    const { worker } = await setUp([definition(() => {})], { pollIntervalMs: 2 ** 31 - 1 });
    worker.start();
    await ticks();
    expect(set.mock.calls.map(([, ms]) => ms)).toEqual([2 ** 31 - 1]);
    await worker.stop();
    vi.restoreAllMocks();
  });

  it('claims at once when it is woken, also by a wake-up during a claim', async () => {
    const { claim, worker } = await setUp([definition(() => {})], { pollIntervalMs: hourMs });
    const slow = deferred<never[]>();
    claim.mockReturnValueOnce(slow.promise);
    worker.start();
    await ticks();
    worker.wake();
    slow.resolve([]);
    await ticks();
    expect(claim).toHaveBeenCalledTimes(2);
    worker.wake();
    await ticks();
    expect(claim).toHaveBeenCalledTimes(3);
    await ticks();
    expect(claim).toHaveBeenCalledTimes(3);
    await worker.stop();
  });

  it('backs off while claims fail, up to five seconds, and recovers', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.5);
    const { store, claim, recorder, failures, worker } = await setUp([definition(() => {})], { pollIntervalMs: 1_000 });
    claim.mockRejectedValue(new Error('no answer'));
    await store.enqueue(newTasks(1));
    worker.start();
    await ticks();
    const pauses = [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000];
    for (const [i, pause] of pauses.entries()) {
      await vi.advanceTimersByTimeAsync(pause - 1);
      expect(claim).toHaveBeenCalledTimes(i + 1);
      await vi.advanceTimersByTimeAsync(1);
      expect(claim).toHaveBeenCalledTimes(i + 2);
    }
    expect(failures).toEqual(Array.from({ length: 9 }, () => 'claim from queue "default": Error: no answer'));
    claim.mockRestore();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(recorder.of('done')).toHaveLength(1);
    // The next failure is the first again.
    vi.spyOn(store, 'claim').mockRejectedValue(new Error('no answer'));
    worker.wake();
    await ticks();
    await vi.advanceTimersByTimeAsync(100);
    expect(store.claim).toHaveBeenCalledTimes(2);
    await worker.stop();
    vi.restoreAllMocks();
  });

  it('pauses while the settler is overloaded, and goes on when that is idle', async () => {
    const idle = deferred();
    const settler = { ...fakeSettler('done'), overloaded: true, relieved: () => idle.promise };
    const { store, claim, worker } = await setUp(
      [definition(() => {})],
      {},
      { settler: settler as unknown as Settler },
    );
    await store.enqueue(newTasks(1));
    worker.start();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(claim).not.toHaveBeenCalled();
    settler.overloaded = false;
    idle.resolve();
    await ticks();
    expect(claim).toHaveBeenCalled();
    await worker.stop();
  });

  describe('while outcomes cannot be written', () => {
    /** A worker with one slot, one task that ends after a while and one that waits behind it, claimed ahead. */
    async function waiting() {
      const settler = fakeSettler('done');
      const lease = new FakeLease();
      const setup = await setUp(
        [definition((payload) => sleep(payload as number))],
        { concurrency: 1, pollIntervalMs: hourMs },
        { settler: settler as unknown as Settler, lease: async () => lease },
      );
      const [first, second] = [claimedTask({ payload: 50 }), claimedTask({ payload: 50 })];
      setup.claim.mockResolvedValueOnce([first, second]);
      setup.worker.start();
      await ticks();
      const started = () => setup.recorder.of('started').map(({ id }) => id);
      expect([setup.worker.running, setup.worker.prefetched]).toEqual([1, 1]);
      return { ...setup, settler, lease, first, second, started };
    }

    it('starts nothing, and what waits once they can be', async () => {
      const { worker, settler, first, second, started } = await waiting();
      const answer = deferred<'done'>();
      settler.settle.mockReturnValueOnce(answer.promise);
      settler.overloaded = true;
      await vi.advanceTimersByTimeAsync(100);
      expect(worker.running).toBe(0);
      expect(started()).toEqual([first.id]);
      settler.overloaded = false;
      answer.resolve('done');
      await ticks();
      expect(started()).toEqual([first.id, second.id]);
      await vi.advanceTimersByTimeAsync(50);
      await worker.stop();
    });

    it('gives back what waits too long', async () => {
      const { worker, settler, lease, first, second, started } = await waiting();
      settler.settle.mockReturnValueOnce(forever());
      settler.overloaded = true;
      await vi.advanceTimersByTimeAsync(450);
      expect(settler.settle.mock.lastCall).toEqual([
        lease,
        { kind: 'release', id: second.id, queue: 'default', claimSeq: 1 },
      ]);
      expect([worker.running, worker.prefetched]).toEqual([0, 0]);
      expect(started()).toEqual([first.id]);
      await worker.stop();
    });

    it('keeps no slot for a task that is being enqueued, and does not start one that comes', async () => {
      const settler = fakeSettler('ready');
      const handler = vi.fn();
      const { worker, lease } = await setUp(
        [definition(handler)],
        { pollIntervalMs: hourMs },
        { settler: settler as unknown as Settler },
      );
      worker.start();
      await ticks();
      const since = worker.reserve('work')!;
      settler.overloaded = true;
      expect(worker.reserve('work')).toBeUndefined();
      worker.accept(since, claimedTask(), lease);
      await ticks();
      expect(handler).not.toHaveBeenCalled();
      await worker.stop();
    });
  });

  describe('holds one suspect of crashes at a time', () => {
    async function suspected(handler: TaskDefinition['handler'], queue: Partial<QueueDefinition> = {}) {
      const workers: QueueWorker[] = [];
      const suspects = new Suspects(2, () => workers.forEach((one) => one.lookForSuspects()));
      const setup = await setUp([definition(handler)], { pollIntervalMs: 1_000, ...queue }, { suspects });
      workers.push(setup.worker);
      const asked = () => setup.claim.mock.calls.map(([request]) => request.suspects?.takeOne);
      return { ...setup, suspects, asked };
    }

    it('which it asks for once a poll interval', async () => {
      vi.spyOn(Math, 'random').mockReturnValue(0.5);
      const { worker, claim, asked } = await suspected(() => {});
      worker.start();
      await ticks();
      expect(claim.mock.lastCall![0].suspects).toEqual({ crashes: 2, takeOne: true });
      worker.wake();
      await ticks();
      await vi.advanceTimersByTimeAsync(1_000);
      expect(asked()).toEqual([true, false, true]);
      await worker.stop();
      vi.restoreAllMocks();
    });

    it('and asks for the next at once when that one is over and written', async () => {
      const gate = deferred();
      const { worker, claim, asked } = await suspected(() => gate.promise, { pollIntervalMs: hourMs });
      claim.mockResolvedValueOnce([claimedTask({ crashes: 2 })]);
      worker.start();
      await ticks();
      worker.wake();
      await ticks();
      gate.resolve();
      await ticks();
      expect(asked()).toEqual([true, false, true]);
      await worker.stop();
    });

    it('and asks for none as long as that one runs', async () => {
      const { worker, claim, asked } = await suspected(forever, { pollIntervalMs: 10_000 });
      claim.mockResolvedValueOnce([claimedTask({ crashes: 2 })]);
      worker.start();
      await vi.advanceTimersByTimeAsync(100_000);
      expect(asked().length).toBeGreaterThan(5);
      expect(asked().slice(1)).not.toContain(true);
      await worker.stop();
    });

    it('and has its turn at its next claim when another queue was just asking', async () => {
      const { worker, suspects, asked } = await suspected(() => {}, { pollIntervalMs: hourMs });
      const other = suspects.ask();
      worker.start();
      await ticks();
      suspects.claimed(other, []);
      worker.wake();
      await ticks();
      expect(asked()).toEqual([false, true]);
      await worker.stop();
    });

    it('and asks again when the claim failed', async () => {
      const { worker, claim, asked } = await suspected(() => {});
      claim.mockRejectedValueOnce(new Error('no answer'));
      worker.start();
      await vi.advanceTimersByTimeAsync(2_500);
      expect(asked().filter(Boolean).length).toBeGreaterThan(1);
      await worker.stop();
    });

    it.each<[string, (worker: QueueWorker, lease: Lease, task: SettledClaim) => unknown]>([
      ['is given back at a stop', (worker) => void worker.stop()],
      ['is lost with its lease', (worker, lease) => worker.lose(lease)],
      ['is cancelled', (worker, _, task) => worker.cancel(task)],
    ])('and none once the one that waits here %s', async (_, end) => {
      const settler = fakeSettler('ready');
      const suspects = new Suspects(2, () => {});
      const { worker, claim, lease } = await setUp(
        [definition(forever)],
        { concurrency: 1, pollIntervalMs: hourMs },
        { suspects, settler: settler as unknown as Settler },
      );
      const task = claimedTask({ crashes: 2 });
      claim.mockImplementationOnce(async () => {
        settler.overloaded = true;
        return [task];
      });
      worker.start();
      await ticks();
      expect(worker.prefetched).toBe(1);
      expect(suspects.ask()?.takeOne).toBe(false);
      end(worker, lease, task);
      await ticks();
      expect(worker.prefetched).toBe(0);
      expect(suspects.ask()?.takeOne).toBe(true);
      await worker.stop();
    });

    it('and none that came when its lease had ended', async () => {
      const lease = new FakeLease();
      const suspects = new Suspects(2, () => {});
      const { worker, claim } = await setUp(
        [definition(forever)],
        { pollIntervalMs: hourMs },
        { suspects, lease: async () => lease },
      );
      claim.mockImplementationOnce(async () => {
        lease.remaining = 0;
        return [claimedTask({ crashes: 2 })];
      });
      worker.start();
      await ticks();
      expect(suspects.ask()?.takeOne).toBe(true);
      await worker.stop();
    });
  });

  describe('runs an attempt and', () => {
    const run = async (handler: TaskDefinition['handler'], fields: Partial<TaskDefinition> = {}, queue = {}) => {
      const setup = await setUp([definition(handler, fields)], queue);
      const [task] = newTasks(1);
      await setup.store.enqueue([task!]);
      setup.worker.start();
      await ticks();
      const ref = { id: task!.id, name: 'work', queue: 'default', attempt: 1 };
      return { ...setup, ref, find: () => setup.store.find(task!.id) };
    };

    it('settles it as done', async () => {
      const { recorder, ref, find, worker, starting } = await run(() => sleep(70));
      expect(recorder.events).toEqual([{ kind: 'started', event: ref }]);
      expect(starting).toHaveBeenCalledOnce();
      await vi.advanceTimersByTimeAsync(70);
      expect(recorder.of('done')).toEqual([{ ...ref, durationMs: 70 }]);
      expect(await find()).toMatchObject({ state: 'done', attempts: [{ number: 1, outcome: 'done' }] });
      await worker.stop();
    });

    it('tries it again after its backoff, not at the next poll', async () => {
      const error = new Error('no');
      const handler = vi.fn().mockRejectedValueOnce(error);
      const backoff = Backoff.fixed(700);
      const { recorder, ref, worker } = await run(handler, { backoff }, { pollIntervalMs: hourMs });
      expect(recorder.of('retrying')).toEqual([{ ...ref, durationMs: 0, error, delayMs: 700 }]);
      await vi.advanceTimersByTimeAsync(699);
      expect(handler).toHaveBeenCalledOnce();
      await vi.advanceTimersByTimeAsync(10);
      expect(recorder.of('done')).toMatchObject([{ attempt: 2 }]);
      await worker.stop();
    });

    it('lets it fail after its last retry', async () => {
      const error = new Error('no');
      const { recorder, ref, find, worker } = await run(() => Promise.reject(error), { maxRetries: 0 });
      expect(recorder.of('failed')).toEqual([{ ...ref, durationMs: 0, error }]);
      expect(await find()).toMatchObject({ state: 'failed', attempts: [{ outcome: 'failed' }] });
      await worker.stop();
    });

    it('survives a handler that throws what nobody may touch', async () => {
      const { proxy, revoke } = Proxy.revocable(new Error('gone'), {});
      revoke();
      const { recorder, find, worker } = await run(
        () => {
          throw proxy;
        },
        { maxRetries: 0 },
      );
      expect(recorder.of('failed')).toHaveLength(1);
      expect(await find()).toMatchObject({ state: 'failed' });
      await worker.stop();
    });

    it('cancels it on request', async () => {
      const { recorder, ref, find, worker } = await run(forever);
      worker.cancel({ ...ref, id: 'of another worker', claimSeq: 1 });
      worker.cancel({ ...ref, claimSeq: 1 });
      await ticks();
      expect(recorder.of('cancelled')).toEqual([ref]);
      expect(await find()).toMatchObject({ state: 'cancelled', attempts: [{ outcome: 'cancelled' }] });
      await worker.stop();
    });

    it('ignores a wish to cancel an earlier claim of it', async () => {
      const { recorder, ref, worker } = await run(forever);
      worker.cancel({ ...ref, claimSeq: 0 });
      await ticks();
      expect(worker.running).toBe(1);
      expect(recorder.of('cancelled')).toEqual([]);
      await worker.stop();
    });

    it('tells that it is cancelled, not retried, when a wish to cancel has overtaken its retry', async () => {
      const handler = deferred();
      const { recorder, ref, store, find, claim, worker } = await run(() => handler.promise);
      expect(await store.cancel(ref.id, () => Infinity)).toBe('requested');
      handler.reject(new Error('no'));
      await ticks();
      await vi.advanceTimersByTimeAsync(500);
      expect(recorder.events).toEqual([
        { kind: 'started', event: ref },
        { kind: 'cancelled', event: ref },
      ]);
      expect(await find()).toMatchObject({ state: 'cancelled', attempts: [{ outcome: 'failed' }] });
      // There is nothing to wake for.
      expect(claim).toHaveBeenCalledOnce();
      await worker.stop();
    });

    it('tells that it is cancelled when it was to go back at a shutdown', async () => {
      const { recorder, ref, store, worker } = await run(forever);
      await store.cancel(ref.id, () => Infinity);
      await worker.stop();
      worker.interrupt();
      await worker.finished();
      await ticks();
      expect(recorder.events.map(({ kind }) => kind)).toEqual(['started', 'cancelled']);
    });

    it('gives it back when it is interrupted, as if it had never been claimed', async () => {
      const { recorder, find, worker } = await run(forever);
      await worker.stop();
      worker.interrupt();
      await worker.finished();
      await ticks();
      expect(await find()).toMatchObject({ state: 'ready', attempt: 0, retries: 0, attempts: [] });
      expect(recorder.events.map(({ kind }) => kind)).toEqual(['started']);
    });

    it('gives it up when its lease is lost, not when another one is', async () => {
      const { recorder, ref, find, worker, lease } = await run(forever);
      worker.lose(new FakeLease());
      await ticks();
      expect(worker.running).toBe(1);
      worker.lose(lease);
      await ticks();
      expect(worker.running).toBe(0);
      expect(recorder.of('lost')).toEqual([ref]);
      expect(await find()).toMatchObject({ state: 'running' });
      await worker.stop();
    });

    it('tells that it is lost when its outcome comes too late', async () => {
      const handler = deferred();
      const { recorder, ref, store, worker } = await run(() => handler.promise);
      vi.spyOn(store, 'settle').mockResolvedValueOnce(new Map());
      handler.resolve();
      await ticks();
      expect(recorder.events.map(({ kind, event }) => [kind, event])).toEqual([
        ['started', ref],
        ['lost', ref],
      ]);
      await worker.stop();
    });
  });

  it.each([
    [10, 20, 30, 10],
    [null, 20, 30, 20],
    [null, undefined, 30, 30],
  ])('takes the timeout of the task, else its definition, else the queue (%s, %s, %s)', async (own, of, queue, ms) => {
    const seen: [number, number][] = [];
    const handler = (_: unknown, task: CurrentTask) => void seen.push([task.timeoutMs, task.maxRetries]);
    const { store, worker } = await setUp([definition(handler, { timeoutMs: of, maxRetries: 5 })], {
      executionTimeoutMs: queue,
    });
    await store.enqueue([newTask({ timeoutMs: own, maxRetries: own })]);
    worker.start();
    await ticks();
    expect(seen).toEqual([[ms, own ?? 5]]);
    await worker.stop();
  });

  it('knows when the last of its running attempts times out', async () => {
    const { store, worker } = await setUp([definition(forever)]);
    expect(worker.latestDeadline).toBe(0);
    const now = performance.now();
    await store.enqueue([500, 900, 700].map((timeoutMs) => newTask({ timeoutMs })));
    worker.start();
    await ticks();
    expect(worker.latestDeadline).toBe(now + 900);
    await worker.stop();
  });

  describe('claims ahead', () => {
    /** A worker that has learnt that its tasks take a millisecond and its claims ten, so it claims ahead. */
    async function practised(concurrency = 1) {
      const setup = await setUp([definition((payload) => (payload === 'long' ? forever() : sleep(1)))], {
        concurrency,
      });
      setup.claim.mockImplementation(async (request: ClaimRequest) => {
        await sleep(10);
        return MemoryTaskStore.prototype.claim.call(setup.store, request);
      });
      await setup.store.enqueue(newTasks(20));
      setup.worker.start();
      await vi.advanceTimersByTimeAsync(500);
      expect(setup.recorder.of('done')).toHaveLength(20);
      setup.claim.mockClear();
      return setup;
    }

    it('what its slots start during one claim, once it knows how long that takes', async () => {
      const { claim, store, recorder, worker } = await practised();
      await store.enqueue(newTasks(5));
      worker.wake();
      await vi.advanceTimersByTimeAsync(20);
      const [[request]] = claim.mock.calls as [[ClaimRequest]];
      expect(request.startNow).toBe(1);
      expect(request.limit).toBeGreaterThan(5);
      expect(recorder.of('done')).toHaveLength(25);
      await worker.stop();
    });

    it('and gives back what waits behind a task that turns out long', async () => {
      const { store, recorder, worker } = await practised();
      const [long, short] = [newTask({ payload: '"long"', priority: 1 }), newTask()];
      await store.enqueue([long, short]);
      worker.wake();
      await vi.advanceTimersByTimeAsync(10);
      expect([worker.running, worker.prefetched]).toEqual([1, 1]);
      const held = new Set<string>();
      worker.collectHeld(held);
      expect([...held]).toEqual([`${long.id} 1`, `${short.id} 1`]);
      await vi.advanceTimersByTimeAsync(200);
      expect([worker.running, worker.prefetched]).toEqual([1, 0]);
      expect(await store.find(short.id)).toMatchObject({ state: 'ready', attempt: 0, retries: 0 });
      expect(recorder.of('started').filter(({ id }) => id === short.id)).toEqual([]);
      await worker.stop();
    });

    it('and gives that back when it stops', async () => {
      const { store, worker } = await practised();
      const [long, short] = [newTask({ payload: '"long"', priority: 1 }), newTask()];
      await store.enqueue([long, short]);
      worker.wake();
      await vi.advanceTimersByTimeAsync(10);
      await worker.stop();
      await ticks();
      expect(await store.find(short.id)).toMatchObject({ state: 'ready', attempt: 0 });
      expect([worker.running, worker.prefetched]).toEqual([1, 0]);
    });

    it('and lets what waits be cancelled, or lost with its lease', async () => {
      const { store, lease, recorder, worker } = await practised();
      const tasks = [newTask({ payload: '"long"', priority: 1 }), ...newTasks(2)];
      await store.enqueue(tasks);
      worker.wake();
      await vi.advanceTimersByTimeAsync(10);
      expect(worker.prefetched).toBe(2);
      await store.cancel(tasks[1]!.id, () => Infinity);
      worker.cancel({ id: tasks[1]!.id, queue: 'default', claimSeq: 1 });
      await ticks();
      expect(worker.prefetched).toBe(1);
      expect(await store.find(tasks[1]!.id)).toMatchObject({ state: 'cancelled', attempts: [] });
      expect(recorder.of('cancelled')).toEqual([{ id: tasks[1]!.id, name: 'work', queue: 'default', attempt: 1 }]);
      worker.lose(lease);
      await ticks();
      expect([worker.running, worker.prefetched]).toEqual([0, 0]);
      expect(recorder.of('lost').map(({ id }) => id)).toEqual([tasks[0]!.id]);
      await worker.stop();
    });
  });

  it('ends as lost what the store has given to somebody else, but nothing that started after it was asked', async () => {
    const { store, lease, recorder, worker } = await setUp([definition(forever)], { concurrency: 3 });
    const [kept, taken, gone] = newTasks(3);
    await store.enqueue([kept!, taken!, gone!]);
    worker.start();
    await ticks();
    const lookedAt = performance.now();
    await vi.advanceTimersByTimeAsync(1);
    const claims = new Map([
      [kept!.id, 1],
      [taken!.id, 2],
    ]);
    worker.loseOthers(lease, claims, lookedAt - 1);
    worker.loseOthers(new FakeLease(), claims, lookedAt);
    await ticks();
    expect(worker.running).toBe(3);
    worker.loseOthers(lease, claims, lookedAt);
    await ticks();
    expect(worker.runningTasks.map(({ id }) => id)).toEqual([kept!.id]);
    expect(recorder.of('lost').map(({ id }) => id)).toEqual([taken!.id, gone!.id]);
    await worker.stop();
  });

  it('keeps the next attempt of a task apart from one that is lost and takes its time to roll back', async () => {
    const gate = deferred();
    const transaction = { manager: {}, close: forever, settle: forever, commit: forever, rollback: () => gate.promise };
    const { store, recorder, worker } = await setUp([{ ...definition(forever), transaction: {} }], { concurrency: 2 });
    Object.assign(store, { transactions: { begin: async () => transaction } });
    const claim = vi.spyOn(store, 'claim').mockResolvedValue([]);
    const { id } = newTask();
    const leases = [new FakeLease('one'), new FakeLease('two')];
    const lease = vi.spyOn(worker['context'], 'lease');
    for (const [index, under] of leases.entries()) {
      lease.mockResolvedValue(under);
      claim.mockResolvedValueOnce([claimedTask({ id, claimSeq: index + 1, attempt: index + 1 })]);
      if (index === 0) worker.start();
      else worker.wake();
      await ticks();
      if (index === 0) worker.lose(under);
    }
    expect(worker.running).toBe(2);
    gate.resolve();
    await ticks();
    expect(recorder.of('lost')).toMatchObject([{ id, attempt: 1 }]);
    expect(worker.runningTasks).toMatchObject([{ id, claimSeq: 2 }]);
    const held = new Set<string>();
    worker.collectHeld(held);
    expect([...held]).toEqual([`${id} 2`]);
    worker.lose(leases[1]!);
    await worker.stop();
  });

  it('gives back what a claim brings whose name was paused while it was under way', async () => {
    const handler = vi.fn<() => void>();
    const { store, claim, worker } = await setUp([definition(handler)], { pollIntervalMs: hourMs });
    await store.enqueue(newTasks(1));
    claim.mockImplementationOnce(async (request) => {
      const claimed = await MemoryTaskStore.prototype.claim.call(store, request);
      worker.apply({ ...noControl, pausedTasks: new Set(['work']) });
      return claimed;
    });
    worker.start();
    await ticks(100);
    expect(handler).not.toHaveBeenCalled();
    expect(await store.counts()).toMatchObject({ ready: 1, running: 0 });
    await worker.stop();
  });

  describe('with tasks of 50 ms that start together, and claims of 4 ms', () => {
    async function warm(handler: TaskHandler, waiting: number) {
      const setup = await setUp([definition(handler)], { concurrency: 10, pollIntervalMs: hourMs });
      const { store, claim, worker } = setup;
      claim.mockImplementation(async (request) => {
        await sleep(4);
        return MemoryTaskStore.prototype.claim.call(store, request);
      });
      await store.enqueue(newTasks(waiting));
      worker.start();
      // Ten run from 4 to 54. The first to end has one claimed, which runs from 58, and that leaves nine, which run from 62.
      await vi.advanceTimersByTimeAsync(63);
      expect([worker.running, worker.prefetched]).toEqual([10, 0]);
      return setup;
    }

    it('has their successors claimed when they end', async () => {
      const { worker } = await warm(() => sleep(50), 50);
      await vi.advanceTimersByTimeAsync(48);
      expect([worker.running, worker.prefetched]).toEqual([10, 9]);
      await vi.advanceTimersByTimeAsync(2);
      expect([worker.running, worker.prefetched]).toEqual([10, 0]);
      await worker.stop();
    });

    it('claims no successor while they are young', async () => {
      const { claim, worker } = await warm(() => sleep(50), 50);
      await vi.advanceTimersByTimeAsync(38);
      expect(claim).toHaveBeenCalledTimes(3);
      await worker.stop();
    });

    it('holds nothing back behind some that hang', async () => {
      let runs = 0;
      const { store, worker } = await warm(() => (++runs > 10 ? forever() : sleep(50)), 50);
      await vi.advanceTimersByTimeAsync(48);
      expect(worker.prefetched).toBe(10);
      await vi.advanceTimersByTimeAsync(250);
      expect(worker.prefetched).toBe(0);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(worker.prefetched).toBe(0);
      expect(await store.counts()).toMatchObject({ ready: 30, running: 10 });
      await worker.stop();
    });

    it('holds nothing for longer than 200 ms though others end meanwhile', async () => {
      let runs = 0;
      const { store, worker } = await warm(() => (++runs > 12 ? forever() : sleep(runs > 10 ? 150 : 50)), 50);
      await vi.advanceTimersByTimeAsync(48);
      expect(worker.prefetched).toBe(10);
      await vi.advanceTimersByTimeAsync(110);
      expect(worker.prefetched).toBe(8);
      await vi.advanceTimersByTimeAsync(100);
      expect(worker.prefetched).toBe(0);
      expect(await store.counts()).toMatchObject({ running: 10 });
      await worker.stop();
    });
  });

  describe('keeps a slot for a task that is being enqueued', () => {
    const handed = () => claimedTask({ claimSeq: 1 });

    it('only while its queue is empty, with a free slot, and for a task that it knows', async () => {
      const { store, worker } = await setUp([definition(forever)], { concurrency: 2, pollIntervalMs: hourMs });
      expect(worker.reserve('work')).toBeUndefined();
      worker.start();
      await ticks();
      expect(worker.reserve('unknown')).toBeUndefined();
      expect(worker.reserve('work')).toBeDefined();
      expect(worker.reserve('work')).toBeDefined();
      expect(worker.reserve('work')).toBeUndefined();
      await store.enqueue(newTasks(1));
      await worker.stop();
      expect(worker.reserve('work')).toBeUndefined();
    });

    it('also while it looks by itself whether its queue is still empty, but not once somebody has told it of more', async () => {
      const { claim, worker } = await setUp([definition(forever)], { concurrency: 5, pollIntervalMs: 1_000 });
      worker.start();
      await ticks();
      const look = deferred<ClaimedTask[]>();
      claim.mockReturnValueOnce(look.promise);
      await vi.advanceTimersByTimeAsync(1_200);
      expect(claim).toHaveBeenCalledTimes(2);
      expect(worker.reserve('work')).toBeDefined();
      worker.wake();
      expect(worker.reserve('work')).toBeUndefined();
      look.resolve([]);
      await worker.stop();
    });

    it('not while it claims what it was told of, nor after a claim that left more behind', async () => {
      const { store, claim, worker } = await setUp([definition(() => sleep(50))], {
        concurrency: 1,
        pollIntervalMs: hourMs,
      });
      worker.start();
      await ticks();
      const slow = deferred<ClaimedTask[]>();
      claim.mockReturnValueOnce(slow.promise);
      worker.wake();
      await ticks();
      expect(worker.reserve('work')).toBeUndefined();
      await store.enqueue(newTasks(2));
      slow.resolve(await MemoryTaskStore.prototype.claim.call(store, claim.mock.lastCall![0]));
      await vi.advanceTimersByTimeAsync(50);
      expect(worker.reserve('work')).toBeUndefined();
      await vi.advanceTimersByTimeAsync(50);
      expect(worker.reserve('work')).toBeDefined();
      await worker.stop();
    });

    it('and gives back what a look brings for slots that others have got meanwhile', async () => {
      const { store, claim, lease, worker } = await setUp([definition(forever)], {
        concurrency: 5,
        pollIntervalMs: 1_000,
      });
      worker.start();
      await ticks();
      const look = deferred<ClaimedTask[]>();
      claim.mockReturnValueOnce(look.promise);
      await vi.advanceTimersByTimeAsync(1_200);
      for (let i = 0; i < 3; i++) worker.accept(worker.reserve('work')!, handed(), lease);
      await store.enqueue(newTasks(4));
      look.resolve(await MemoryTaskStore.prototype.claim.call(store, claim.mock.lastCall![0]));
      await vi.advanceTimersByTimeAsync(0);
      expect([worker.running, worker.prefetched]).toEqual([5, 0]);
      expect(await store.counts()).toMatchObject({ running: 2, ready: 2 });
      await worker.stop();
    });

    it('not after a look that left more behind, nor after one that failed', async () => {
      const first = deferred();
      const { store, claim, failures, worker } = await setUp([definition(() => first.promise)], {
        concurrency: 1,
        pollIntervalMs: 1_000,
      });
      worker.start();
      await ticks();
      await store.enqueue(newTasks(2));
      await vi.advanceTimersByTimeAsync(1_120);
      expect(worker.running).toBe(1);
      const slow = deferred<ClaimedTask[]>();
      claim.mockReturnValueOnce(slow.promise);
      first.resolve();
      await ticks();
      expect(worker.running).toBe(0);
      expect(worker.reserve('work')).toBeUndefined();
      slow.resolve([]);
      await ticks();
      claim.mockRejectedValueOnce(new Error('no answer'));
      await vi.advanceTimersByTimeAsync(900);
      while (failures.length === 0) await vi.advanceTimersByTimeAsync(10);
      expect(worker.reserve('work')).toBeUndefined();
      await worker.stop();
    });

    it('not when it starts again, before it has looked', async () => {
      const { claim, worker } = await setUp([definition(forever)], { concurrency: 1, pollIntervalMs: hourMs });
      worker.start();
      await ticks();
      await worker.stop();
      const slow = deferred<ClaimedTask[]>();
      claim.mockReturnValueOnce(slow.promise);
      worker.start();
      await ticks();
      expect(worker.reserve('work')).toBeUndefined();
      slow.resolve([]);
      await worker.stop();
    });

    /** A worker with three slots that has emptied its queue, and whose next claim takes its time. */
    const slowWorker = async () => {
      const { claim, worker } = await setUp([definition(forever)], { concurrency: 3, pollIntervalMs: hourMs });
      worker.start();
      await ticks();
      const slow = deferred<ClaimedTask[]>();
      claim.mockReturnValueOnce(slow.promise);
      return { worker, slow };
    };

    it('while it claims what it was told of, if there is a slot for each of those too', async () => {
      const { worker, slow } = await slowWorker();
      worker.wake(1);
      await ticks();
      worker.wake(1);
      const since = worker.reserve('work')!;
      expect(since).toEqual(expect.any(Number));
      expect(worker.reserve('work')).toBeUndefined();
      worker.decline(since);
      worker.wake();
      expect(worker.reserve('work')).toBeUndefined();
      slow.resolve([]);
      await ticks();
      expect([worker.reserve('work'), worker.reserve('work'), worker.reserve('work')]).toEqual(
        Array.from({ length: 3 }, () => expect.any(Number)),
      );
      await worker.stop();
    });

    it('not beside an alarm that has rung for as many tasks as there are slots', async () => {
      const { worker, slow } = await slowWorker();
      worker.wakeIn(100, 2);
      worker.wakeIn(100, 1);
      const since = worker.reserve('work')!;
      expect(since).toEqual(expect.any(Number));
      worker.decline(since);
      await vi.advanceTimersByTimeAsync(110);
      expect(worker.reserve('work')).toBeUndefined();
      slow.resolve([]);
      await worker.stop();
    });

    it('and has its outcome written once its enqueue is answered, with the slot free meanwhile', async () => {
      const { store, recorder, lease, worker } = await setUp([definition(() => {})], { pollIntervalMs: hourMs });
      const settle = vi.spyOn(store, 'settle');
      worker.start();
      await ticks();
      const answered = deferred();
      const answer = {
        stored: undefined as boolean | undefined,
        givenAt: Infinity,
        repeated: true,
        given: answered.promise,
      };
      const task = handed();
      worker.accept(worker.reserve('work')!, task, lease, answer);
      await vi.advanceTimersByTimeAsync(1_000);
      expect(recorder.of('started')).toMatchObject([{ id: task.id }]);
      expect(settle).not.toHaveBeenCalled();
      expect(worker.running).toBe(0);
      const held = new Set<string>();
      worker.collectHeld(held);
      expect(held.size).toBe(1);
      answer.stored = true;
      answered.resolve();
      await ticks();
      expect(settle).toHaveBeenCalledOnce();
      await worker.stop();
    });

    it('and has its outcome written half a second after the end if its enqueue is never answered', async () => {
      const { store, lease, worker } = await setUp([definition(() => {})], { pollIntervalMs: hourMs });
      const settle = vi.spyOn(store, 'settle');
      worker.start();
      await ticks();
      const answer = { stored: undefined, givenAt: Infinity, repeated: true, given: forever() };
      worker.accept(worker.reserve('work')!, handed(), lease, answer);
      await worker.stop();
      await worker.finished();
      const over = worker.answered();
      await vi.advanceTimersByTimeAsync(499);
      expect(settle).not.toHaveBeenCalled();
      await vi.advanceTimersByTimeAsync(1);
      await over;
      await ticks();
      expect(settle).toHaveBeenCalledOnce();
    });

    it('and at the end waits for it, to give it back', async () => {
      const { store, recorder, lease, worker } = await setUp([definition(forever)], { pollIntervalMs: hourMs });
      const settle = vi.spyOn(store, 'settle');
      worker.start();
      await ticks();
      const [first, second] = [worker.reserve('work')!, worker.reserve('work')!];
      await worker.stop();
      const over = worker.answered();
      await vi.advanceTimersByTimeAsync(100);
      const task = handed();
      worker.accept(first, task, lease);
      expect(await isSettled(over)).toBe(false);
      worker.decline(second);
      await over;
      const { id, queue, claimSeq } = task;
      expect(settle.mock.calls).toEqual([[lease.workerId, [{ kind: 'release', id, queue, claimSeq }]]]);
      expect(recorder.of('started')).toEqual([]);
    });

    it('and at the end waits for it and for the answer to its enqueue half a second in all, and then gives it back', async () => {
      const { store, lease, worker } = await setUp([definition(forever)], { pollIntervalMs: hourMs });
      const settle = vi.spyOn(store, 'settle');
      const open = { stored: undefined, givenAt: Infinity, repeated: true, given: forever() };
      worker.start();
      await ticks();
      const slots = [worker.reserve('work')!, worker.reserve('work')!, worker.reserve('work')!];
      await worker.stop();
      worker.accept(slots[0]!, handed(), lease, open);
      const over = worker.answered();
      await vi.advanceTimersByTimeAsync(100);
      worker.accept(slots[1]!, handed(), lease, open);
      await vi.advanceTimersByTimeAsync(399);
      expect(settle).not.toHaveBeenCalled();
      await vi.advanceTimersByTimeAsync(1);
      await over;
      expect(settle.mock.calls.flatMap(([, released]) => released)).toHaveLength(2);
      // This one comes too late to be waited for.
      worker.accept(slots[2]!, handed(), lease, open);
      await ticks();
      expect(settle.mock.calls.flatMap(([, released]) => released)).toHaveLength(3);
    });

    it('not while it looks for tasks at home elsewhere, whose tokens would be taken for nothing', async () => {
      const rated = { name: 'rated', queue: 'elsewhere', rateLimit: { max: 1, perMs: hourMs } };
      const { store, worker } = await setUp([definition(forever), definition(forever, rated)], {
        concurrency: 2,
        pollIntervalMs: hourMs,
      });
      const strays = vi.spyOn(store, 'claimLimited');
      worker.start();
      await vi.advanceTimersByTimeAsync(1_200);
      const look = deferred<LimitedClaim>();
      strays.mockClear();
      strays.mockReturnValueOnce(look.promise);
      worker.wake(1);
      await ticks();
      expect(strays).toHaveBeenCalledOnce();
      // One slot for what it was told of, and one that would be free.
      expect(worker.reserve('work')).toBeUndefined();
      look.resolve({ tasks: [], nextInMs: null });
      await ticks();
      expect(worker.reserve('work')).toEqual(expect.any(Number));
      await worker.stop();
    });

    it('and does not end it for an audit that is older than the answer to its enqueue', async () => {
      const { recorder, lease, worker } = await setUp([definition(forever)], { pollIntervalMs: hourMs });
      worker.start();
      await ticks();
      const answer = { stored: undefined as boolean | undefined, givenAt: Infinity, repeated: true, given: forever() };
      worker.accept(worker.reserve('work')!, handed(), lease, answer);
      await vi.advanceTimersByTimeAsync(100);
      const lookedAt = performance.now();
      worker.loseOthers(lease, new Map(), lookedAt);
      await vi.advanceTimersByTimeAsync(100);
      Object.assign(answer, { stored: true, givenAt: performance.now() });
      worker.loseOthers(lease, new Map(), lookedAt);
      await ticks();
      expect(recorder.of('lost')).toEqual([]);
      worker.loseOthers(lease, new Map(), performance.now());
      await ticks();
      expect(recorder.of('lost')).toHaveLength(1);
      await worker.stop();
    });

    it('and runs it there, claiming no more than the other slots meanwhile', async () => {
      const { claim, recorder, lease, worker } = await setUp([definition(() => sleep(50))], {
        concurrency: 2,
        pollIntervalMs: hourMs,
      });
      worker.start();
      await ticks();
      const since = worker.reserve('work')!;
      worker.wake();
      await ticks();
      expect(claim.mock.lastCall).toMatchObject([{ limit: 1, startNow: 1 }]);
      const task = handed();
      worker.accept(since, task, lease);
      expect(recorder.of('started')).toMatchObject([{ id: task.id }]);
      await worker.stop();
    });

    it('and has it again when that is declined', async () => {
      const { claim, worker } = await setUp([definition(forever)], { concurrency: 1, pollIntervalMs: hourMs });
      worker.start();
      await ticks();
      const since = worker.reserve('work')!;
      worker.wake();
      await ticks();
      expect(claim).toHaveBeenCalledOnce();
      worker.decline(since);
      await ticks();
      expect(claim).toHaveBeenCalledTimes(2);
      await worker.stop();
    });

    it('and gives it back once, whatever is said afterwards', async () => {
      const { lease, worker } = await setUp([definition(() => {})], { concurrency: 2, pollIntervalMs: hourMs });
      worker.start();
      await ticks();
      const first = worker.reserve('work')!;
      const startedAt = performance.now();
      await vi.advanceTimersByTimeAsync(10);
      const second = worker.reserve('work')!;
      worker.accept(second, handed(), lease);
      worker.decline(second);
      expect(worker.pendingSince).toBe(startedAt);
      worker.decline(first);
      expect(worker.pendingSince).toBe(Infinity);
      await worker.stop();
    });

    it('and knows since when the oldest of those has been under way', async () => {
      const { lease, worker } = await setUp([definition(forever)], { concurrency: 3, pollIntervalMs: hourMs });
      worker.start();
      await ticks();
      expect(worker.pendingSince).toBe(Infinity);
      const first = worker.reserve('work')!;
      const startedAt = performance.now();
      await vi.advanceTimersByTimeAsync(10);
      const second = worker.reserve('work')!;
      worker.accept(second, handed(), lease);
      expect(worker.pendingSince).toBe(startedAt);
      worker.decline(first);
      expect(worker.pendingSince).toBe(Infinity);
      await worker.stop();
    });

    it('but gives it back instead of running it under a lease that has ended meanwhile', async () => {
      const lease = new FakeLease();
      const handler = vi.fn();
      const { store, worker } = await setUp(
        [definition(handler)],
        { pollIntervalMs: hourMs },
        { lease: async () => lease },
      );
      worker.start();
      await ticks();
      const since = worker.reserve('work')!;
      lease.lose();
      const settle = vi.spyOn(store, 'settle');
      const task = handed();
      worker.accept(since, task, lease);
      await ticks();
      const back = { kind: 'release', id: task.id, queue: 'default', claimSeq: 1 };
      expect(settle.mock.calls).toEqual([[lease.workerId, [back]]]);
      expect(handler).not.toHaveBeenCalled();
      expect([worker.running, worker.prefetched, worker.pendingSince]).toEqual([0, 0, Infinity]);
      await worker.stop();
    });
  });

  describe('when hints of other processes arrive', () => {
    it('polls less and less often while its queue is empty, and again as often once it was not', async () => {
      vi.spyOn(Math, 'random').mockReturnValue(0.5);
      const { store, claim, worker } = await setUp(
        [definition(() => {})],
        { pollIntervalMs: 1_000 },
        { hinted: () => true },
      );
      const pauses = async (count: number) => {
        const all: number[] = [];
        for (let i = 0; i < count; i++) {
          const [before, calls] = [performance.now(), claim.mock.calls.length];
          while (claim.mock.calls.length === calls) await vi.advanceTimersToNextTimerAsync();
          all.push(performance.now() - before);
        }
        return all;
      };
      worker.start();
      await ticks();
      expect(await pauses(7)).toEqual([1_000, 2_000, 3_000, 4_000, 5_000, 5_000, 5_000]);
      await store.enqueue(newTasks(1));
      worker.wake();
      await ticks();
      expect(await pauses(2)).toEqual([1_000, 1_000]);
      await worker.stop();
      vi.restoreAllMocks();
    });

    it('does not sleep past the time at which the next task falls due', async () => {
      vi.spyOn(Math, 'random').mockReturnValue(0.5);
      const { store, recorder, worker } = await setUp(
        [definition(() => {})],
        { pollIntervalMs: 1_000 },
        { hinted: () => true },
      );
      worker.start();
      await vi.advanceTimersByTimeAsync(20_000);
      await store.enqueue([newTask({ due: { inMs: 6_000 } })]);
      await vi.advanceTimersByTimeAsync(6_000);
      expect(recorder.of('done')).toHaveLength(1);
      await worker.stop();
      vi.restoreAllMocks();
    });
  });

  describe('when it stops', () => {
    it('claims no more, and lets go on what runs', async () => {
      const { store, claim, recorder, worker } = await setUp([definition(() => sleep(500))], { concurrency: 1 });
      await store.enqueue(newTasks(3));
      worker.start();
      await ticks();
      await worker.stop();
      expect(worker.running).toBe(1);
      worker.wake();
      worker.wakeIn(1);
      await vi.advanceTimersByTimeAsync(60_000);
      expect(recorder.of('done')).toHaveLength(1);
      expect(claim).toHaveBeenCalledOnce();
      expect(vi.getTimerCount()).toBe(1);
    });

    it('wakes from its sleep, and from the pause after an error', async () => {
      const { claim, worker } = await setUp([definition(() => {})], { pollIntervalMs: hourMs });
      worker.start();
      await ticks();
      await worker.stop();
      claim.mockRejectedValueOnce(new Error('no answer'));
      worker.start();
      await ticks();
      await worker.stop();
    });

    it('gives back what a claim under way brings, without starting it', async () => {
      const handler = vi.fn();
      const { store, claim, recorder, worker, starting } = await setUp([definition(handler)]);
      const tasks = newTasks(3);
      await store.enqueue(tasks);
      const answer = deferred();
      claim.mockImplementationOnce(async (request) => {
        await answer.promise;
        return MemoryTaskStore.prototype.claim.call(store, request);
      });
      worker.start();
      await ticks();
      const stopped = worker.stop();
      expect(await isSettled(stopped)).toBe(false);
      answer.resolve();
      await stopped;
      await worker.finished();
      await ticks();
      for (const { id } of tasks) {
        expect(await store.find(id)).toMatchObject({ state: 'ready', attempt: 0, retries: 0, attempts: [] });
      }
      expect(handler).not.toHaveBeenCalled();
      expect(starting).not.toHaveBeenCalled();
      expect(recorder.events).toEqual([]);
    });

    it('does not wait for a lease', async () => {
      const { claim, worker } = await setUp([definition(() => {})], {}, { lease: () => new Promise<Lease>(() => {}) });
      worker.start();
      await ticks();
      expect(await isSettled(worker.stop())).toBe(true);
      expect(claim).not.toHaveBeenCalled();
    });

    it('does not wait for an overloaded settler', async () => {
      const settler = { overloaded: true, relieved: forever } as unknown as Settler;
      const { worker } = await setUp([definition(() => {})], {}, { settler });
      worker.start();
      await ticks();
      expect(await isSettled(worker.stop())).toBe(true);
    });

    it('can be started again', async () => {
      const { store, recorder, worker } = await setUp([definition(() => {})], { pollIntervalMs: hourMs });
      worker.start();
      worker.start();
      await worker.stop();
      await worker.stop();
      await store.enqueue(newTasks(2));
      worker.start();
      await ticks();
      expect(recorder.of('done')).toHaveLength(2);
      await worker.stop();
    });
  });

  it('gives back at once, without starting it, what a claim brings whose lease has ended meanwhile', async () => {
    const handler = vi.fn();
    const setup = await setUp([definition(handler)], { pollIntervalMs: hourMs });
    const { store, claim, lease, worker, recorder } = setup;
    const [task] = newTasks(1);
    await store.enqueue([task!]);
    claim.mockImplementationOnce(async (request) => {
      const claimed = await MemoryTaskStore.prototype.claim.call(store, request);
      // Only by its own clock: the store has not given the worker up yet.
      vi.spyOn(lease, 'remainingMs').mockReturnValue(0);
      return claimed;
    });
    worker.start();
    await ticks();
    expect(claim).toHaveBeenCalledOnce();
    expect(await store.find(task!.id)).toMatchObject({ state: 'ready', attempt: 0, retries: 0, attempts: [] });
    expect(handler).not.toHaveBeenCalled();
    expect(recorder.events).toEqual([]);
    expect([worker.running, worker.prefetched]).toEqual([0, 0]);
    await worker.stop();
  });
});
