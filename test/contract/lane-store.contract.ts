import { type ClaimedTask, type Lane, type Lease, type NewTask, StoreClosedError, type TaskStore } from 'nestjs-backie';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  finish,
  hear,
  hourMs,
  immortal,
  leaseOf,
  mortal,
  newTask,
  release,
  retry,
  snooze,
  type TaskStoreUnderTest,
} from './task-store.fixtures.js';

const keep = (): number => Infinity;
/** Long ago, so that tasks are due, in a known order. */
const dueAt = (ms: number) => ({ at: new Date(1_700_000_000_000 + ms) });
const later = (ms: number) => ({ inMs: ms });

/** What every store must hold of concurrency keys. Each test works on a queue of its own. */
export function describeLaneStore(name: string, create: () => Promise<TaskStoreUnderTest>): void {
  describe(name, () => {
    let subject: TaskStoreUnderTest;
    let store: TaskStore;
    let queue: string;
    let queues = 0;
    let worker: Lease;
    const leases: Lease[] = [];

    beforeAll(async () => {
      subject = await create();
      store = subject.store;
    });
    afterAll(() => subject?.dispose());
    beforeEach(async () => {
      queue = `keyed-${++queues}`;
      worker = await lease();
    });
    afterEach(async () => {
      for (const held of leases.splice(0)) await held.end();
    });

    const lease = async (terms = immortal): Promise<Lease> => {
      const held = await leaseOf(store, [queue], terms);
      leases.push(held);
      return held;
    };
    const laneOf = (key = 'a', task = 'work'): Lane => ({ queue, name: task, key });
    const keyed = (fields: Partial<NewTask> = {}): NewTask => newTask({ queue, lane: 'a', ...fields });
    const add = async (...tasks: NewTask[]): Promise<string[]> => (await store.enqueue(tasks)).map(({ id }) => id);
    const addOne = async (fields: Partial<NewTask> = {}): Promise<string> => (await add(keyed(fields)))[0];
    const claim = (limit = 100, by = worker, names = ['work', 'other']): Promise<ClaimedTask[]> =>
      store.claim({ workerId: by.workerId, queue, names, limit });
    const claimIds = async (limit?: number, by?: Lease) => (await claim(limit, by)).map(({ id }) => id);
    const settle = async (settlement: Parameters<TaskStore['settle']>[1][number], by = worker) => {
      await store.settle(by.workerId, [settlement]);
      await store.lanes.admit([laneOf()]);
    };
    const claimOne = async (by = worker): Promise<ClaimedTask> => {
      const claimed = await claim(100, by);
      expect(claimed).toHaveLength(1);
      return claimed[0];
    };
    /** Runs whatever can run, one claim after the other, until nothing can. */
    const drain = async (): Promise<string[]> => {
      const ids: string[] = [];
      for (let claimed = await claim(); claimed.length > 0; claimed = await claim()) {
        ids.push(...claimed.map(({ id }) => id));
        for (const task of claimed) await settle(finish(task, { keepMs: null }));
      }
      return ids;
    };

    describe('a limit', () => {
      it('lets one task of a key run at once, in the order of enqueueing', async () => {
        const ids = await add(keyed(), keyed(), keyed());
        expect(await claimIds()).toEqual([ids[0]]);
        expect(await claimIds()).toEqual([]);
        const [first] = await store.holdings(worker.workerId);
        await settle(finish(first));
        expect(await drain()).toEqual(ids.slice(1));
      });

      it('lets as many run at once as it says', async () => {
        const ids = await add(...Array.from({ length: 5 }, () => keyed({ laneLimit: 3 })));
        const claimed = await claim();
        expect(claimed.map(({ id }) => id)).toEqual(ids.slice(0, 3));
        await settle(finish(claimed[1]));
        expect(await claimIds()).toEqual([ids[3]]);
        expect(await claimIds()).toEqual([]);
      });

      it('gives more places than one admission fills, in the order of admission', async () => {
        await store.lanes.pause(laneOf());
        const tasks = Array.from({ length: 600 }, (_, i) =>
          keyed({ laneLimit: 590, priority: i % 3, due: i < 500 ? dueAt(i) : later(hourMs + i) }),
        );
        await add(...tasks);
        await store.lanes.resume(laneOf());
        const due = tasks.slice(0, 500).toSorted((one, other) => other.priority - one.priority);
        expect(await claimIds(1_000)).toEqual(due.map(({ id }) => id));
        await subject.passTime(queue, 2 * hourMs);
        const first = tasks.slice(500, 590).map(({ id }) => id);
        expect((await claimIds(1_000)).toSorted()).toEqual(first.toSorted());
      });

      it('holds for each key, each task name and each queue apart', async () => {
        const others = [keyed({ lane: 'b' }), keyed({ name: 'other' }), newTask({ queue }), newTask({ queue })];
        const ids = await add(keyed(), keyed(), ...others);
        const elsewhere = await add(keyed({ queue: `${queue}-too` }));
        expect((await claimIds()).toSorted()).toEqual([ids[0], ...ids.slice(2)].toSorted());
        const found = await store.claim({
          workerId: worker.workerId,
          queue: `${queue}-too`,
          names: ['work'],
          limit: 9,
        });
        expect(found.map(({ id }) => id)).toEqual(elsewhere);
      });

      it('tells no keys apart only by where one ends and a name begins', async () => {
        const ids = await add(keyed({ name: 'other', lane: 'work:a' }), keyed({ name: 'work', lane: 'other:a' }));
        expect((await claimIds()).toSorted()).toEqual(ids.toSorted());
      });

      it('is the one that a task was enqueued with', async () => {
        const ids = await add(keyed({ laneLimit: 1 }), keyed({ laneLimit: 2 }), keyed({ laneLimit: 2 }));
        expect(await claimIds()).toEqual(ids.slice(0, 2));
      });

      it('holds when what waits is enqueued by many calls at once', async () => {
        await Promise.all(Array.from({ length: 40 }, () => addOne({ laneLimit: 3 })));
        expect(await claimIds()).toHaveLength(3);
      });

      it('is neither exceeded nor left unused when admissions race enqueues, claims and ends', async () => {
        const limit = 4;
        const workers = await Promise.all(Array.from({ length: 4 }, () => lease()));
        const total = 80;
        let added = 0;
        let ended = 0;
        let running = 0;
        let most = 0;
        const produce = async () => {
          for (; added < total;) {
            added += 2;
            await add(keyed({ laneLimit: limit }), keyed({ laneLimit: limit }));
          }
        };
        const work = async (by: Lease) => {
          while (ended < total) {
            const claimed = await claim(2, by);
            running += claimed.length;
            most = Math.max(most, running);
            expect(running).toBeLessThanOrEqual(limit);
            for (const task of claimed) {
              running -= 1;
              await store.settle(by.workerId, [finish(task, { keepMs: null })]);
              ended += 1;
              await Promise.all([store.lanes.admit([laneOf()]), store.lanes.admit([laneOf(), laneOf('b')])]);
            }
          }
        };
        await Promise.all([produce(), produce(), ...workers.map(work)]);
        expect(ended).toBe(total);
        expect(await store.counts(queue)).toMatchObject({ ready: 0, running: 0 });
        if (subject.racing) expect(most).toBeGreaterThan(1);
      });
    });

    describe('what waits', () => {
      it('is ready, due when it says, and has its key', async () => {
        const [, id] = await add(keyed(), keyed({ due: dueAt(5) }), keyed({ due: dueAt(9) }));
        expect(await store.find(id)).toMatchObject({
          state: 'ready',
          scheduledAt: new Date(1_700_000_000_005),
          concurrencyKey: 'a',
        });
        const { tasks } = await store.list({ queue }, {});
        expect(tasks.map(({ scheduledAt }) => scheduledAt.getFullYear())).toEqual([
          2023,
          2023,
          new Date().getFullYear(),
        ]);
        expect(await store.counts(queue)).toMatchObject({ ready: 3 });
      });

      it('runs by priority, then by due time, whatever the order in which it came', async () => {
        const running = await addOne();
        const first = await claimOne();
        const ids = await add(
          keyed({ priority: 0, due: dueAt(3) }),
          keyed({ priority: 5, due: dueAt(9) }),
          keyed({ priority: -5, due: dueAt(1) }),
          keyed({ priority: 5, due: dueAt(2) }),
          keyed({ priority: 0, due: dueAt(2) }),
        );
        expect(first.id).toBe(running);
        await settle(finish(first));
        expect(await drain()).toEqual([3, 1, 4, 0, 2].map((place) => ids[place]));
      });

      it('is not what is due next while it is parked', async () => {
        await add(keyed({ due: later(hourMs) }), keyed({ due: later(2 * hourMs) }));
        await store.lanes.pause(laneOf());
        expect(await store.nextDueMs(queue)).toBeNull();
        await store.lanes.resume(laneOf());
        expect(await store.nextDueMs(queue)).toBeGreaterThan(hourMs / 2);
        expect(await store.nextDueMs(queue)).toBeLessThanOrEqual(hourMs);
      });

      it('is stored once when it is enqueued again, with its unique key too', async () => {
        const task = keyed({ uniqueKey: 'u' });
        const [blocking] = await add(keyed());
        expect(await store.enqueue([task])).toMatchObject([{ id: task.id, duplicate: false }]);
        expect(await store.enqueue([task], undefined, true)).toMatchObject([{ id: task.id, duplicate: false }]);
        expect(await store.enqueue([keyed({ uniqueKey: 'u' })])).toMatchObject([{ id: task.id, duplicate: true }]);
        expect(await drain()).toEqual([blocking, task.id]);
      });

      it('is never handed to a worker', async () => {
        const [stored] = await store.enqueue([keyed({ handTo: worker.workerId })]);
        expect(stored.handedAt).toBeUndefined();
        expect(await claimIds()).toEqual([stored.id]);
      });
    });

    describe('a due time', () => {
      it('is kept: a task that is not due yet has its place and falls due by itself', async () => {
        const id = await addOne({ due: later(hourMs) });
        expect(await claimIds()).toEqual([]);
        await subject.passTime(queue, hourMs);
        expect(await claimIds()).toEqual([id]);
      });

      it('lets one that is not due yet give way to one that is, and to one that is due earlier', async () => {
        const last = await addOne({ due: later(3 * hourMs), priority: 9 });
        const first = await addOne({ due: later(2 * hourMs) });
        const now = await addOne();
        expect(await drain()).toEqual([now]);
        await subject.passTime(queue, 2 * hourMs);
        expect(await drain()).toEqual([first]);
        await subject.passTime(queue, hourMs);
        expect(await drain()).toEqual([last]);
      });

      it('blocks nobody behind it, whatever its priority', async () => {
        await addOne();
        const running = await claimOne();
        await addOne({ due: later(hourMs), priority: 99 });
        const due = await addOne({ priority: -99 });
        await settle(finish(running));
        expect(await claimIds()).toEqual([due]);
      });

      it('keeps as many places for what falls due first as the limit says', async () => {
        const fields = { laneLimit: 2 };
        const [third, first, second] = await add(
          keyed({ ...fields, due: later(3 * hourMs) }),
          keyed({ ...fields, due: later(1 * hourMs) }),
          keyed({ ...fields, due: later(2 * hourMs) }),
        );
        await subject.passTime(queue, 3 * hourMs);
        expect(await claimIds()).toEqual([first, second]);
        expect(await store.find(third)).toMatchObject({ state: 'ready' });
      });
    });

    describe('a place', () => {
      it('is kept by a task that waits for its retry or snoozes', async () => {
        const ids = await add(keyed(), keyed());
        await settle(retry(await claimOne(), hourMs));
        await addOne();
        expect(await claimIds()).toEqual([]);
        await subject.passTime(queue, hourMs);
        const again = await claimOne();
        expect(again.id).toBe(ids[0]);
        await settle(snooze(again, hourMs));
        expect(await claimIds()).toEqual([]);
        await subject.passTime(queue, hourMs);
        await settle(finish(await claimOne()));
        expect(await claimIds()).toEqual([ids[1]]);
      });

      it('is kept by a task that was released, which runs before those behind it', async () => {
        const ids = await add(keyed(), keyed());
        await settle(release(await claimOne()));
        expect(await claimIds()).toEqual([ids[0]]);
      });

      it.each(['done', 'failed', 'cancelled'] as const)('is free once its task is %s', async (state) => {
        const ids = await add(keyed(), keyed());
        await settle(finish(await claimOne(), { state }));
        expect(await claimIds()).toEqual([ids[1]]);
      });

      it('is free once its task is cancelled or removed before it ran', async () => {
        const ids = await add(keyed(), keyed(), keyed());
        expect(await store.cancel(ids[0], keep)).toBe('cancelled');
        expect(await store.remove(ids[1])).toBe(true);
        expect(await claimIds()).toEqual([ids[2]]);
      });

      it('is taken by the one behind a parked task that is cancelled or removed', async () => {
        const ids = await add(keyed(), keyed({ due: dueAt(1) }), keyed(), keyed());
        const due = (await store.find(ids[2]))!.scheduledAt;
        const running = await claimOne();
        expect(await store.cancel(ids[2], keep)).toBe('cancelled');
        expect(await store.remove(ids[0])).toBe(running.id !== ids[0]);
        expect(await store.find(ids[2])).toMatchObject({ state: 'cancelled', scheduledAt: due, concurrencyKey: 'a' });
        await settle(finish(running));
        expect(await drain()).toEqual(ids.filter((id) => ![running.id, ids[2], ids[0]].includes(id)));
      });

      it('is waited for by a finished task that is retried, which then comes before younger ones', async () => {
        const ids = await add(keyed(), keyed(), keyed());
        await settle(finish(await claimOne(), { state: 'failed' }));
        const second = await claimOne();
        expect(await store.retry(ids[0])).toBe(true);
        expect(await claimIds()).toEqual([]);
        await settle(finish(second));
        const third = await claimOne();
        expect(third).toMatchObject({ id: ids[0], attempt: 2, lane: 'a' });
        await settle(finish(third));
        expect(await claimIds()).toEqual([ids[2]]);
      });

      it('is kept by a task whose worker died, and free once it is quarantined or was to be cancelled', async () => {
        const ids = await add(keyed(), keyed(), keyed());
        const die = async (maxCrashes: number) => {
          const dying = await lease(mortal);
          const { id } = await claimOne(dying);
          if (id === ids[1]) await store.cancel(id, keep);
          await subject.expireLease(dying.workerId);
          await store.rescue({ leaseMs: 0, maxCrashes, keepFailedMs: new Map([[queue, Infinity]]) });
          return id;
        };
        expect(await die(2)).toBe(ids[0]);
        expect(await die(2)).toBe(ids[0]);
        expect(await store.find(ids[0])).toMatchObject({ state: 'failed', crashes: 2 });
        expect(await die(2)).toBe(ids[1]);
        expect(await claimIds()).toEqual([ids[2]]);
      });
    });

    describe('a task that is replaced or expires', () => {
      const unique = { scope: 'waiting', windowMs: null, replace: true, movesDue: false } as const;

      it('keeps its turn when it is replaced while it is parked', async () => {
        const [first] = await add(keyed());
        const parked = await addOne({ uniqueKey: 'u', unique });
        const last = await addOne();
        const again = keyed({ uniqueKey: 'u', unique, payload: '2' });
        expect(await store.enqueue([again])).toMatchObject([{ id: parked, duplicate: true, replaced: true }]);
        expect(await store.find(parked)).toMatchObject({ payload: 2, concurrencyKey: 'a' });
        expect(await drain()).toEqual([first, parked, last]);
      });

      it('still has no more than its place when it is replaced while it could start', async () => {
        const [first] = await add(keyed({ uniqueKey: 'u', unique }));
        const second = await addOne();
        await store.enqueue([keyed({ uniqueKey: 'u', unique, payload: '2' })]);
        expect(await claimIds()).toEqual([first]);
        expect(await store.find(second)).toMatchObject({ state: 'ready' });
      });

      it('goes over to another key, or to none, and leaves its place', async () => {
        const [first] = await add(keyed({ uniqueKey: 'u', unique }));
        const second = await addOne();
        await store.enqueue([keyed({ uniqueKey: 'u', unique, lane: 'b' })]);
        expect((await claimIds()).toSorted()).toEqual([first, second].toSorted());
        for (const terms of [unique, { ...unique, scope: 'window', windowMs: hourMs } as const]) {
          const uniqueKey = `u-${terms.scope}`;
          const leaver = await addOne({ uniqueKey, unique: terms, lane: 'c' });
          const waiter = await addOne({ lane: 'c' });
          expect(await store.enqueue([newTask({ queue, uniqueKey, unique: terms })])).toMatchObject([{ id: leaver }]);
          const claimed = await claim();
          expect(claimed.map(({ id }) => id).toSorted()).toEqual([leaver, waiter].toSorted());
          for (const one of claimed) await store.settle(worker.workerId, [finish(one)]);
        }
        const parked = keyed({ uniqueKey: 'v', unique });
        const plain = newTask({ queue, uniqueKey: 'v', unique });
        await store.enqueue([parked]);
        await store.enqueue([plain]);
        expect(await store.find(parked.id)).toMatchObject({ concurrencyKey: null });
        expect(await claimIds()).toEqual([parked.id]);
      });

      it('is stored with its key when it holds a unique key for a window', async () => {
        const window = { scope: 'window', windowMs: hourMs, replace: false, movesDue: false } as const;
        const ids = await add(keyed(), keyed({ uniqueKey: 'w', unique: window }));
        expect(await drain()).toEqual(ids);
      });

      it('gives its place free when it expires', async () => {
        const expiring = await addOne({ expiresInMs: 0 });
        const second = await addOne();
        await store.expire({ keepCancelledMs: new Map() });
        expect(await store.find(expiring)).toMatchObject({ state: 'cancelled', reason: 'expired' });
        expect(await claimIds()).toEqual([second]);
      });
    });

    describe('admission', () => {
      it('wakes the workers of the queue', async () => {
        const ids = await add(keyed(), keyed());
        await store.settle(worker.workerId, [finish(await claimOne())]);
        const { heard, stop } = await hear(store);
        const woken = heard({ kind: 'wake', queue });
        await store.lanes.admit([laneOf()]);
        await woken;
        expect(await claimIds()).toEqual([ids[1]]);
        await stop();
      });

      it('of many lanes at once, in any order and twice, gives each what its limit allows', async () => {
        const keys = Array.from({ length: 120 }, (_, i) => `key ${i}`);
        await add(...keys.flatMap((lane) => [keyed({ lane }), keyed({ lane })]));
        const claimed = await claim(1_000);
        expect(claimed).toHaveLength(120);
        await store.settle(
          worker.workerId,
          claimed.map((task) => finish(task)),
        );
        const lanes = keys.map((key) => laneOf(key));
        await Promise.all([store.lanes.admit(lanes), store.lanes.admit(lanes.toReversed()), store.lanes.admit(lanes)]);
        expect(await claimIds(1_000)).toHaveLength(120);
      });

      it('of lanes that do not exist, or of none, does nothing', async () => {
        await store.lanes.admit([]);
        await store.lanes.admit([laneOf('nobody')]);
        expect(await store.counts(queue)).toMatchObject({ ready: 0 });
      });

      it('is made good by a sweep when nobody lived to ask for it', async () => {
        const keys = Array.from({ length: 12 }, (_, i) => `key ${i}`);
        const ids = await add(...keys.flatMap((lane) => [keyed({ lane }), keyed({ lane })]));
        const claimed = await claim();
        await store.settle(
          worker.workerId,
          claimed.map((task) => finish(task)),
        );
        expect(await claimIds()).toEqual([]);
        await store.lanes.sweep();
        expect((await claimIds()).toSorted()).toEqual(ids.filter((_, place) => place % 2 === 1).toSorted());
      });
    });

    describe('a pause', () => {
      it('lets no task of the key start, those included that could have, and others go on', async () => {
        const [first, second, other] = await add(
          keyed({ laneLimit: 2 }),
          keyed({ laneLimit: 2 }),
          keyed({ lane: 'b' }),
        );
        await store.lanes.pause(laneOf());
        const third = await addOne();
        expect(await claimIds()).toEqual([other]);
        await store.lanes.resume(laneOf());
        expect(await claimIds()).toEqual([first, second]);
        expect(await store.find(third)).toMatchObject({ state: 'ready' });
      });

      it('lets what runs go on, and starts nothing when that ends', async () => {
        const ids = await add(keyed(), keyed());
        const running = await claimOne();
        await store.lanes.pause(laneOf());
        await settle(finish(running));
        expect(await store.find(ids[0])).toMatchObject({ state: 'done' });
        expect(await claimIds()).toEqual([]);
        await store.lanes.sweep();
        expect(await claimIds()).toEqual([]);
        await store.lanes.resume(laneOf());
        expect(await claimIds()).toEqual([ids[1]]);
      });

      it('keeps a retry that goes on after it in its place', async () => {
        const ids = await add(keyed(), keyed());
        const running = await claimOne();
        await store.lanes.pause(laneOf());
        await settle(retry(running, hourMs));
        await subject.passTime(queue, hourMs);
        expect(await claimIds()).toEqual([]);
        await store.lanes.resume(laneOf());
        expect(await claimIds()).toEqual([ids[0]]);
        expect(await claimIds()).toEqual([]);
      });

      it('keeps a retry that is not due at its end in its place, whatever is due behind it', async () => {
        const ids = await add(keyed(), keyed());
        await settle(retry(await claimOne(), hourMs));
        await store.lanes.pause(laneOf());
        const delayed = await addOne({ due: later(hourMs) });
        await store.lanes.resume(laneOf());
        expect(await claimIds()).toEqual([]);
        await subject.passTime(queue, hourMs);
        expect(await drain()).toEqual([...ids, delayed]);
      });

      it.each([
        ['is released', release],
        ['is to be retried', (task: ClaimedTask) => retry(task, 0)],
        ['snoozes', (task: ClaimedTask) => snooze(task, 0)],
      ])('takes what %s while it lasts, before anybody could claim it again', async (_, settlement) => {
        const [id] = await add(keyed());
        const running = await claimOne();
        await store.lanes.pause(laneOf());
        await store.settle(worker.workerId, [settlement(running)]);
        expect(await claimIds()).toEqual([]);
        expect(await store.find(id)).toMatchObject({ state: 'ready' });
        expect((await store.find(id))!.scheduledAt.getTime()).not.toBeNaN();
        await store.lanes.resume(laneOf());
        expect(await claimIds()).toEqual([id]);
      });

      it('takes what goes back to its queue while it lasts, be it by a sweep', async () => {
        await add(keyed());
        const running = await claimOne();
        await store.lanes.pause(laneOf());
        await store.settle(worker.workerId, [release(running)]);
        await store.lanes.sweep();
        expect(await claimIds()).toEqual([]);
      });

      it('is listed until it ends, and can be made and ended twice', async () => {
        await store.lanes.pause(laneOf('b'));
        await store.lanes.pause(laneOf('a', 'other'));
        await store.lanes.pause(laneOf('b'));
        const listed = async () => (await store.lanes.paused()).filter((lane) => lane.queue === queue);
        expect(await listed()).toEqual([
          { queue, name: 'other', key: 'a', pausedAt: expect.any(Date) as Date },
          { queue, name: 'work', key: 'b', pausedAt: expect.any(Date) as Date },
        ]);
        for (let times = 0; times < 2; times++) await store.lanes.resume(laneOf('b'));
        expect(await listed()).toMatchObject([{ name: 'other' }]);
        await store.lanes.resume(laneOf('a', 'other'));
      });

      it('races enqueues and admissions without letting one through', async () => {
        for (let round = 0; round < (subject.racing ? 5 : 1); round++) {
          const key = `round ${round}`;
          const some = () => Promise.all(Array.from({ length: 5 }, () => addOne({ lane: key, laneLimit: 9 })));
          await Promise.all([
            some(),
            store.lanes.pause(laneOf(key)),
            some(),
            ...Array.from({ length: 5 }, () => store.lanes.admit([laneOf(key)])),
          ]);
          expect(await claimIds()).toEqual([]);
          await store.lanes.resume(laneOf(key));
          expect(await claimIds()).toHaveLength(9);
        }
      });
    });

    it('refuses work once it is closed', async () => {
      const closing = await create();
      await closing.store.close();
      await expect(closing.store.lanes.admit([laneOf()])).rejects.toThrow(StoreClosedError);
      await expect(closing.store.lanes.pause(laneOf())).rejects.toThrow(StoreClosedError);
    });
  });
}
