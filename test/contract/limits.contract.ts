import type {
  ClaimedTask,
  ControlStore,
  Declarations,
  DeclaredLimits,
  Lease,
  LimitedClaim,
  NewTask,
  RateLimit,
  TaskStore,
} from 'nestjs-backie';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { finish, hear, hourMs, leaseOf, newTask, release, retry, snooze } from './task-store.fixtures.js';

export interface LimitedStoreUnderTest {
  readonly store: TaskStore;
  /** Lets time pass for tasks and buckets, at once. */
  passTime(ms: number): Promise<void>;
  dispose(): Promise<void>;
}

const dueAt = (ms: number) => ({ at: new Date(1_700_000_000_000 + ms) });
const ids = (tasks: readonly { readonly id: string }[]) => tasks.map(({ id }) => id);

/** What every store must hold of limits and pauses. */
export function describeLimits(name: string, create: () => Promise<LimitedStoreUnderTest>): void {
  describe(name, () => {
    let subject: LimitedStoreUnderTest;
    let store: TaskStore;
    let control: ControlStore;
    let queue: string;
    let worker: Lease;
    let queues = 0;

    beforeAll(async () => {
      subject = await create();
      store = subject.store;
      control = store.control;
    });
    afterAll(() => subject?.dispose());
    beforeEach(async () => {
      queue = `queue-${++queues}`;
      worker = await leaseOf(store, [queue]);
    });
    afterEach(() => worker.end());

    const work = () => `${queue}-work`;
    const add = async (count: number, fields: Partial<NewTask> = {}): Promise<string[]> =>
      ids(await store.enqueue(Array.from({ length: count }, () => newTask({ queue, name: work(), ...fields }))));
    const request = (limit: number, names: readonly string[] = [work()]) => {
      return { workerId: worker.workerId, queue, names, limit };
    };
    const plain = async (limit = 100) => ids(await store.claim(request(limit)));
    const claim = (limit = 100, names?: readonly string[]): Promise<LimitedClaim> =>
      store.claimLimited(request(limit, names));
    const claimed = async (limit?: number, names?: readonly string[]) => ids((await claim(limit, names)).tasks);
    const settle = (...tasks: readonly ClaimedTask[]) =>
      store.settle(
        worker.workerId,
        tasks.map((task) => finish(task)),
      );
    const declare = (limits: Partial<DeclaredLimits>, tasks: Declarations['tasks'] = new Map()) =>
      control.declare({
        queues: new Map([[queue, { globalConcurrency: null, rateLimit: null, ...limits }]]),
        tasks,
      });
    const rate = (rateLimit: RateLimit | null, task = work()) => declare({}, new Map([[task, { queue, rateLimit }]]));

    describe('a claim from a queue without limits', () => {
      it('takes what a plain claim takes, in its order', async () => {
        const [low] = await add(1, { due: dueAt(0) });
        const [late] = await add(1, { priority: 5, due: dueAt(2) });
        const [early] = await add(1, { priority: 5, due: dueAt(1) });
        await add(1, { due: { inMs: hourMs } });
        await add(1, { name: 'unknown' });
        const { tasks, nextInMs } = await claim();
        expect(ids(tasks)).toEqual([early, late, low]);
        expect(tasks[0]).toMatchObject({ queue, name: work(), attempt: 1, claimSeq: 1, priority: 5, payload: {} });
        expect(nextInMs).toBeNull();
        expect((await store.settle(worker.workerId, [finish(tasks[0])])).get(early)).toBe('done');
      });

      it('takes nothing while the queue is paused, or without a lease', async () => {
        await add(1);
        await store.pause(queue);
        expect(await claimed()).toEqual([]);
        await store.resume(queue);
        await worker.end();
        expect(await claimed()).toEqual([]);
      });

      it('takes at most one suspect, and none unless it may', async () => {
        const suspects = await add(2);
        const doomed = await leaseOf(store, [queue]);
        await store.claim({ ...request(2), workerId: doomed.workerId });
        await doomed.end();
        await store.rescue({ leaseMs: 0, maxCrashes: 3, keepFailedMs: new Map() });
        const [ordinary] = await add(1);
        const take = async (takeOne: boolean) =>
          ids((await store.claimLimited({ ...request(10), suspects: { crashes: 1, takeOne } })).tasks);
        expect(await take(false)).toEqual([ordinary]);
        expect(await take(true)).toEqual([suspects[0]]);
        expect(await take(true)).toEqual([suspects[1]]);
      });
    });

    describe('globalConcurrency', () => {
      it('lets so many run at once, whoever claimed them, and others once one has ended', async () => {
        await add(5);
        const [before] = (await store.claim(request(1))) as [ClaimedTask];
        await declare({ globalConcurrency: 3 });
        const other = await leaseOf(store, [queue]);
        const theirs = await store.claimLimited({ ...request(1), workerId: other.workerId });
        expect(theirs.tasks).toHaveLength(1);
        const { tasks } = await claim();
        expect(tasks).toHaveLength(1);
        expect(await claim()).toEqual({ tasks: [], nextInMs: null });
        await settle(before);
        expect(await claimed()).toHaveLength(1);
        await settle(tasks[0]);
        await store.settle(other.workerId, [retry(theirs.tasks[0], hourMs)]);
        expect(await claimed()).toHaveLength(1);
        expect(await claimed()).toEqual([]);
        await other.end();
      });

      it('counts what a dead worker holds until it is rescued', async () => {
        await declare({ globalConcurrency: 1 });
        const [first] = await add(2, { due: dueAt(0) });
        const dead = await leaseOf(store, [queue]);
        expect(ids((await store.claimLimited({ ...request(1), workerId: dead.workerId })).tasks)).toEqual([first]);
        await dead.end();
        expect(await claimed()).toEqual([]);
        await store.rescue({ leaseMs: 0, maxCrashes: 3, keepFailedMs: new Map() });
        expect(await claimed()).toEqual([first]);
      });

      it('counts no tasks of other queues', async () => {
        await declare({ globalConcurrency: 1 });
        await store.enqueue([newTask({ queue: 'other', name: work() })]);
        await store.claim({ ...request(1), queue: 'other' });
        await add(1);
        expect(await claimed()).toHaveLength(1);
      });

      it('keeps plain claims and hand-offs from the queue', async () => {
        const [waiting] = await add(1);
        await declare({ globalConcurrency: 1 });
        expect(await plain()).toEqual([]);
        const [stored] = await store.enqueue([newTask({ queue, name: work(), handTo: worker.workerId })]);
        expect(stored.handedAt).toBeUndefined();
        await declare({});
        expect(await plain()).toEqual([waiting, stored.id]);
      });

      it('is never exceeded by claims at once', async () => {
        await declare({ globalConcurrency: 7 });
        await add(60);
        const workers = await Promise.all(Array.from({ length: 6 }, () => leaseOf(store, [queue])));
        for (let round = 0; round < 10; round++) {
          const claims = await Promise.all(
            workers.map(async ({ workerId }) => {
              const { tasks } = await store.claimLimited({ ...request(3), workerId });
              return { workerId, tasks };
            }),
          );
          expect(claims.flatMap(({ tasks }) => tasks).length).toBe(
            Math.min(7, 60 - round * 7 > 0 ? 60 - round * 7 : 0),
          );
          await Promise.all(
            claims.map(({ workerId, tasks }) =>
              store.settle(
                workerId,
                tasks.map((task) => finish(task)),
              ),
            ),
          );
        }
        for (const each of workers) await each.end();
      });
    });

    describe('the rate limit of a queue', () => {
      it('lets so many start in each window, and says when the next may', async () => {
        await declare({ rateLimit: { max: 3, perMs: 60_000 } });
        await add(10);
        expect(await claimed(2)).toHaveLength(2);
        await subject.passTime(40_000);
        const { tasks, nextInMs } = await claim();
        expect(tasks).toHaveLength(1);
        expect(nextInMs).toBeGreaterThan(15_000);
        expect(nextInMs).toBeLessThanOrEqual(20_000);
        expect(await claimed()).toEqual([]);
        await subject.passTime(20_000);
        expect(await claimed()).toHaveLength(2);
        await subject.passTime(39_000);
        expect(await claimed()).toEqual([]);
        await subject.passTime(1_000);
        expect(await claimed()).toHaveLength(1);
      });

      it('counts retries, and keeps the token of a task that is given back or snoozes', async () => {
        await declare({ rateLimit: { max: 3, perMs: 60_000 } });
        const [id] = await add(1);
        for (const again of [release, (task: ClaimedTask) => retry(task, 0), (task: ClaimedTask) => snooze(task, 0)]) {
          const { tasks } = await claim();
          expect(ids(tasks)).toEqual([id]);
          await store.settle(worker.workerId, [again(tasks[0])]);
        }
        expect(await claimed()).toEqual([]);
      });

      it('is never exceeded by claims at once', async () => {
        await declare({ rateLimit: { max: 5, perMs: hourMs } });
        await add(20);
        const claims = await Promise.all(Array.from({ length: 8 }, () => claimed(4)));
        expect(claims.flat()).toHaveLength(5);
      });

      it('holds beside globalConcurrency', async () => {
        await declare({ globalConcurrency: 2, rateLimit: { max: 3, perMs: hourMs } });
        await add(5);
        const { tasks } = await claim();
        expect(tasks).toHaveLength(2);
        await settle(...tasks);
        expect(await claimed()).toHaveLength(1);
        expect(await claimed()).toEqual([]);
      });

      it('remembers what was taken in the window when it changes', async () => {
        await declare({ rateLimit: { max: 2, perMs: 60_000 } });
        await add(9);
        expect(await claimed()).toHaveLength(2);
        await control.setLimits(queue, { rateLimit: { max: 5, perMs: 60_000 } });
        expect(await claimed()).toHaveLength(3);
        await control.setLimits(queue, { rateLimit: { max: 1, perMs: 60_000 } });
        const { tasks, nextInMs } = await claim();
        expect(tasks).toEqual([]);
        expect(nextInMs).toBeGreaterThan(50_000);
        await subject.passTime(60_000);
        expect(await claimed()).toHaveLength(1);
      });
    });

    describe('the rate limit of a task', () => {
      it('holds on whatever queue, and leaves other tasks alone', async () => {
        await rate({ max: 2, perMs: 60_000 });
        await add(5, { due: dueAt(0) });
        const [other] = await add(1, { name: 'other', due: dueAt(1) });
        await store.enqueue([newTask({ queue: `${queue}-b`, name: work() })]);
        const [first] = (await claim(1)).tasks;
        expect(first.name).toBe(work());
        const elsewhere = await store.claimLimited({ ...request(5), queue: `${queue}-b` });
        expect(elsewhere.tasks).toHaveLength(1);
        expect(await claimed(10, [work(), 'other'])).toEqual([other]);
      });

      it('is never exceeded by claims at once from several queues', async () => {
        const queuesOfIt = Array.from({ length: 6 }, (_, i) => `${queue}-${i}`);
        for (let round = 0; round < 5; round++) {
          const shared = `${work()}-${round}`;
          await rate({ max: 6, perMs: hourMs }, shared);
          for (const each of queuesOfIt) {
            await store.enqueue(Array.from({ length: 3 }, () => newTask({ queue: each, name: shared })));
          }
          // The bucket is there: what is new to all waits for whoever stores it first.
          await add(1, { name: shared });
          expect(await claimed(1, [shared])).toHaveLength(1);
          const claims = await Promise.all(
            queuesOfIt.map((each) => store.claimLimited({ ...request(3, [shared]), queue: each })),
          );
          expect(claims.flatMap(({ tasks }) => tasks)).toHaveLength(5);
        }
      });

      it('holds for each key by itself', async () => {
        await rate({ max: 1, perMs: 60_000 });
        const [a1, , b1, none] = [
          ...(await add(2, { rateKey: 'a', due: dueAt(0) })),
          ...(await add(1, { rateKey: 'b', due: dueAt(1) })),
          ...(await add(1, { due: dueAt(2) })),
        ];
        expect(await claimed()).toEqual([a1, b1, none]);
        expect(await claimed()).toEqual([]);
      });

      it('holds for each key by itself when more keys are due than there are slots, known keys and new ones', async () => {
        await rate({ max: 1, perMs: 60_000 });
        for (let round = 0; round < 3; round++) {
          const waiting = (
            await Promise.all(Array.from({ length: 5 }, (_, key) => add(1, { rateKey: `${key}`, due: dueAt(key) })))
          ).flat();
          expect(await claimed(2)).toEqual(waiting.slice(0, 2));
          expect(await claimed(2)).toEqual(waiting.slice(2, 4));
          expect(await claimed(2)).toEqual(waiting.slice(4));
          expect(await claimed(2)).toEqual([]);
          await subject.passTime(61_000);
        }
      });

      it('holds a task no more whose replacement takes from another bucket', async () => {
        await rate({ max: 1, perMs: 60_000 });
        const unique = { scope: 'live', windowMs: null, replace: true, movesDue: false } as const;
        await add(1, { rateKey: 'a', due: dueAt(0) });
        const first = await add(1, { rateKey: 'a', due: dueAt(1), uniqueKey: 'u', unique });
        const second = await add(1, { rateKey: 'a', due: dueAt(2), uniqueKey: 'v', unique });
        expect(await claimed()).toHaveLength(1);
        expect(await claimed()).toEqual([]);
        await add(1, { rateKey: 'a', uniqueKey: 'v', unique, payload: '2' });
        expect(await claimed()).toEqual([]);
        expect(await add(1, { rateKey: 'b', uniqueKey: 'u', unique })).toEqual(first);
        expect((await store.find(first[0]))?.scheduledAt).toEqual(dueAt(1).at);
        expect(await claimed()).toEqual(first);
        expect(await add(1, { rateKey: 'c', uniqueKey: 'v', unique })).toEqual(second);
        expect(await claimed()).toEqual(second);
        const [delayed] = await add(1, { rateKey: 'd', due: { inMs: hourMs }, uniqueKey: 'w', unique });
        const { scheduledAt } = (await store.find(delayed))!;
        await add(1, { rateKey: 'e', uniqueKey: 'w', unique });
        expect(await store.find(delayed)).toMatchObject({ scheduledAt });
      });

      it('starts those that had to wait in their order, one window after the other', async () => {
        await rate({ max: 2, perMs: 60_000 });
        const waiting = await add(7, { due: dueAt(0) });
        const started: string[] = [];
        for (let round = 0; round < 12; round++) {
          const { tasks, nextInMs } = await claim();
          started.push(...ids(tasks));
          if (tasks.length === 0 && nextInMs !== null) expect(nextInMs).toBeGreaterThan(0);
          await subject.passTime(30_000);
        }
        expect(started).toEqual(waiting);
      });

      it('lets a higher priority go before those that wait', async () => {
        await rate({ max: 1, perMs: 60_000 });
        const [first] = await add(4, { due: dueAt(0) });
        expect(await claimed()).toEqual([first]);
        const [urgent] = await add(1, { priority: 10 });
        expect(await claimed()).toEqual([]);
        await subject.passTime(60_000);
        expect(await claimed()).toEqual([urgent]);
      });

      it('starts those that came one by one while they had to wait by priority, then in their order', async () => {
        await rate({ max: 1, perMs: 60_000 });
        await add(1);
        expect(await claimed()).toHaveLength(1);
        const waiting: string[] = [];
        for (const priority of [0, 1, 2, 3, 2, 0]) {
          waiting.push(...(await add(1, { priority })));
          expect(await claimed()).toEqual([]);
        }
        const started: string[] = [];
        // As a worker does: it looks again when there may be more, and not before.
        for (let looks = 0; looks < 100 && started.length < waiting.length; looks++) {
          const { tasks, nextInMs } = await claim();
          started.push(...ids(tasks));
          await subject.passTime(Math.ceil(nextInMs ?? 60_000));
        }
        const [a0, b1, c2, d3, e2, f0] = waiting;
        expect(started).toEqual([d3, c2, e2, b1, a0, f0]);
      });

      it('reads on behind many that have to wait', async () => {
        await rate({ max: 1, perMs: hourMs });
        await add(350, { due: dueAt(0) });
        const [other] = await add(1, { name: 'other', due: dueAt(1) });
        const taken: string[] = [];
        for (let looks = 0; looks < 10 && !taken.includes(other); looks++) {
          const { tasks, nextInMs } = await claim(2, [work(), 'other']);
          taken.push(...ids(tasks));
          if (!taken.includes(other)) expect(nextInMs).toBe(0);
        }
        expect(taken).toHaveLength(2);
        expect(taken).toContain(other);
      });

      it('marks the queue where the task is at home, until nobody declares it there', async () => {
        const limited = async () => (await control.read()).queues.get(queue)?.limited ?? false;
        const [first] = await add(2, { due: dueAt(0) });
        await rate({ max: 1, perMs: hourMs });
        expect(await limited()).toBe(true);
        expect((await control.read()).ratedTasks).toContain(work());
        expect(await plain()).toEqual([]);
        expect(await claimed()).toEqual([first]);
        await rate({ max: 9, perMs: hourMs }, `${queue}-another`);
        await rate(null);
        expect(await limited()).toBe(true);
        await rate(null, `${queue}-another`);
        expect(await limited()).toBe(false);
        expect((await control.read()).ratedTasks).not.toContain(work());
      });

      it('of a task that no process has any more is shown, and limits its queue until it is forgotten', async () => {
        const limit = { max: 1, perMs: hourMs };
        await rate(limit);
        expect(await control.limits(queue)).toMatchObject({ tasks: [{ name: work(), rateLimit: limit }] });
        const queueOf = async () => (await control.read()).queues.get(queue)?.limited ?? false;
        // What is declared says nothing of it.
        await declare({ rateLimit: null });
        expect(await queueOf()).toBe(true);
        await control.forgetTaskLimit(work());
        await control.forgetTaskLimit('none-such');
        expect(await control.limits(queue)).toMatchObject({ tasks: [] });
        expect(await queueOf()).toBe(false);
        expect((await control.read()).ratedTasks).not.toContain(work());
        const added = await add(2);
        expect(await plain()).toEqual(added);
        await rate(limit);
        expect(await queueOf()).toBe(true);
      });

      it('is kept by a task that failed and is put back', async () => {
        await rate({ max: 1, perMs: hourMs });
        const [id] = await add(1, { rateKey: 'a' });
        const { tasks } = await claim();
        await store.settle(worker.workerId, [finish(tasks[0], { state: 'failed' })]);
        expect(await store.retry(id)).toBe(true);
        const [other] = await add(1, { rateKey: 'b' });
        expect(await claimed()).toEqual([other]);
      });
    });

    describe('limits that are set at run time', () => {
      it('win over what is declared until they are taken back', async () => {
        const declared = { max: 9, perMs: 1_000 };
        await declare({ globalConcurrency: 5, rateLimit: declared });
        const own = { concurrency: null, globalConcurrency: 5, rateLimit: declared, changed: [], tasks: [] };
        expect(await control.limits(queue)).toEqual(own);
        await control.setLimits(queue, { concurrency: 2, globalConcurrency: 3 });
        await control.setLimits(queue, { rateLimit: 'none' });
        const changed = ['concurrency', 'globalConcurrency', 'rateLimit'];
        expect(await control.limits(queue)).toEqual({
          concurrency: 2,
          globalConcurrency: 3,
          rateLimit: null,
          changed,
          tasks: [],
        });
        await declare({ globalConcurrency: 7, rateLimit: null });
        expect(await control.limits(queue)).toMatchObject({ globalConcurrency: 3, rateLimit: null });
        expect((await control.read()).queues.get(queue)).toEqual({ paused: false, limited: true, concurrency: 2 });
        await control.setLimits(queue, { globalConcurrency: 'none' });
        expect((await control.read()).queues.get(queue)).toMatchObject({ limited: false });
        await control.setLimits(queue, { concurrency: null, globalConcurrency: null, rateLimit: null });
        expect(await control.limits(queue)).toEqual({ ...own, globalConcurrency: 7, rateLimit: null });
      });

      it('are none of a queue that nobody knows', async () => {
        const none = { concurrency: null, globalConcurrency: null, rateLimit: null, changed: [], tasks: [] };
        expect(await control.limits(queue)).toEqual(none);
      });

      it('are told to all, as are pauses of tasks and declarations', async () => {
        const { heard, stop } = await hear(store);
        const told = async (change: () => Promise<unknown>) => {
          const hint = heard({ kind: 'control' });
          await change();
          await hint;
        };
        await told(() => control.setLimits(queue, { concurrency: 2 }));
        await told(() => control.pauseTask(work()));
        await told(() => control.resumeTask(work()));
        await told(() => declare({ globalConcurrency: 2 }));
        await stop();
      });
    });

    it('says which queues and tasks are paused', async () => {
      await store.pause(queue);
      await control.pauseTask('b');
      await control.pauseTask('a');
      await control.pauseTask('a');
      expect(await control.pausedTasks()).toEqual(['a', 'b']);
      const read = await control.read();
      expect(read.queues.get(queue)?.paused).toBe(true);
      expect([...read.pausedTasks].toSorted()).toEqual(['a', 'b']);
      await control.resumeTask('a');
      await control.resumeTask('b');
      await control.resumeTask('never paused');
      expect(await control.pausedTasks()).toEqual([]);
      await store.resume(queue);
    });
  });
}
