import {
  InvalidOptionsError,
  StoreClosedError,
  UniqueKeyTakenError,
  type ClaimedTask,
  type ClaimRequest,
  type Lease,
  type NewTask,
  type RescueRequest,
  type Settlement,
  type StoreHint,
  type Task,
  type TaskFilter,
  type TaskStore,
} from 'nestjs-backie';
import { v7 as uuid } from 'uuid';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type Claim,
  finish,
  hear,
  hourMs,
  cancelRequests,
  immortal,
  leaseOf,
  mortal,
  newTask,
  release,
  retry,
  snooze,
  signal,
  type TaskStoreUnderTest,
} from './task-store.fixtures.js';
import { describeTaskStoreModel } from './task-store.model.js';
import { describeUniqueTerms } from './unique-terms.contract.js';

export type { TaskStoreUnderTest } from './task-store.fixtures.js';

const keep = (): number => Infinity;
const drop = (): null => null;
/** Long ago, so that tasks are due, in a known order. */
const dueAt = (ms: number) => ({ at: new Date(1_700_000_000_000 + ms) });

/**
 * What every store must hold. The tests share one store, as applications share one database: each works on a queue of
 * its own.
 */
export function describeTaskStore(name: string, create: () => Promise<TaskStoreUnderTest>): void {
  describe(name, () => {
    let subject: TaskStoreUnderTest;
    let store: TaskStore;
    let queue: string;
    let queues = 0;
    const leases: Lease[] = [];

    beforeAll(async () => {
      subject = await create();
      store = subject.store;
    });
    afterAll(() => subject?.dispose());
    beforeEach(() => {
      queue = `queue-${++queues}`;
    });
    afterEach(async () => {
      for (const held of leases.splice(0)) await held.end();
    });

    const task = (fields: Partial<NewTask> = {}): NewTask => newTask({ queue, ...fields });
    const lease = async (terms = immortal, lost?: () => void): Promise<Lease> => {
      const held = await leaseOf(store, [queue], terms, lost);
      leases.push(held);
      return held;
    };
    const add = async (fields: Partial<NewTask> = {}): Promise<string> => (await store.enqueue([task(fields)]))[0].id;
    const found = async (id: string): Promise<Task> => {
      const stored = await store.find(id);
      expect(stored, `task ${id}`).not.toBeNull();
      return stored!;
    };
    const claim = (worker: Lease, limit = 100, taskNames: readonly string[] = ['work']): Promise<ClaimedTask[]> =>
      store.claim({ workerId: worker.workerId, queue, names: taskNames, limit });
    const claimIds = async (worker: Lease, limit?: number, taskNames?: readonly string[]): Promise<string[]> =>
      (await claim(worker, limit, taskNames)).map(({ id }) => id);
    const claimOne = async (worker: Lease): Promise<ClaimedTask> => {
      const claimed = await claim(worker, 1);
      expect(claimed).toHaveLength(1);
      return claimed[0];
    };
    const settle = async (worker: Lease, ...settlements: Settlement[]): Promise<string[]> =>
      [...(await store.settle(worker.workerId, settlements)).keys()].toSorted();
    const rescue = async (options: Partial<RescueRequest> = {}) =>
      (await store.rescue({ leaseMs: 0, maxCrashes: 3, keepFailedMs: new Map(), ...options })).filter(
        (rescued) => rescued.queue === queue,
      );
    /** Claims the only due task with a worker that dies of it, and has it rescued. */
    const crash = async (options?: Partial<RescueRequest>) => {
      const worker = await lease(mortal);
      const claimed = await claimOne(worker);
      await subject.expireLease(worker.workerId);
      return { worker, claimed, rescued: await rescue(options) };
    };
    const listIds = async (
      filter: TaskFilter,
      order?: 'newestFirst' | 'oldestFirst',
      limit = 100,
    ): Promise<string[]> => {
      const ids: string[] = [];
      for (let after: string | undefined, more = true; more;) {
        const page = await store.list(filter, { limit, ...(order && { order }), ...(after && { after }) });
        expect(page.tasks.length).toBeLessThanOrEqual(limit);
        ids.push(...page.tasks.map(({ id }) => id));
        more = page.next !== null;
        after = page.next ?? undefined;
      }
      return ids;
    };
    /** 12 tasks, in the order of their ids: three each of ready, running, done and failed. */
    const mixture = async (): Promise<string[]> => {
      const worker = await lease();
      const tasks = Array.from({ length: 12 }, (_, i) => task({ name: i % 2 ? 'odd' : 'even', payload: `${i}` }));
      await store.enqueue(tasks);
      const claimed = await claim(worker, 12, ['odd', 'even']);
      const nth = (index: number): ClaimedTask => claimed.find(({ id }) => id === tasks[index].id)!;
      await settle(
        worker,
        ...[0, 4, 8].map((index) => release(nth(index))),
        ...[2, 6, 10].map((index) => finish(nth(index))),
        ...[3, 7, 11].map((index) => finish(nth(index), { state: 'failed' })),
      );
      return tasks.map(({ id }) => id);
    };
    /** Runs a race several times when calls really run in parallel. */
    const race = async (round: () => Promise<void>): Promise<void> => {
      for (let rounds = subject.racing ? 5 : 1; rounds > 0; rounds--) await round();
    };

    describe('enqueue', () => {
      it('stores everything that a new task says', async () => {
        const id = await add({
          name: 'mail',
          payload: '{"to":"ada"}',
          priority: 7,
          uniqueKey: 'ada',
          maxRetries: 9,
          timeoutMs: 1_234,
        });
        const stored = await found(id);
        expect(stored).toMatchObject({
          id,
          name: 'mail',
          queue,
          state: 'ready',
          payload: { to: 'ada' },
          priority: 7,
          uniqueKey: 'ada',
          maxRetries: 9,
          timeoutMs: 1_234,
          attempt: 0,
          retries: 0,
          crashes: 0,
          claimSeq: 0,
          workerId: null,
          startedAt: null,
          finishedAt: null,
          attempts: [],
        });
        expect(stored.createdAt).toBeInstanceOf(Date);
        expect(stored.scheduledAt).toBeInstanceOf(Date);
      });

      it('keeps null where a new task leaves a limit to its definition', async () => {
        expect(await found(await add())).toMatchObject({ uniqueKey: null, maxRetries: null, timeoutMs: null });
      });

      it('reports one result a task, in their order', async () => {
        const tasks = [task(), task(), task()].toReversed();
        expect(await store.enqueue(tasks)).toEqual(tasks.map(({ id }) => ({ id, duplicate: false })));
      });

      it('stores nothing when given nothing', async () => {
        expect(await store.enqueue([])).toEqual([]);
      });

      it('makes a task due at a fixed time, to the millisecond', async () => {
        const at = new Date('2031-02-03T04:05:06.789Z');
        expect((await found(await add({ due: { at } }))).scheduledAt).toEqual(at);
      });

      it('makes a task due some milliseconds from now by the clock of the store', async () => {
        const { createdAt, scheduledAt } = await found(await add({ due: { inMs: hourMs } }));
        expect(Math.abs(scheduledAt.getTime() - createdAt.getTime() - hourMs)).toBeLessThan(5_000);
      });

      it('stores 10,000 tasks in one call', async () => {
        const tasks = Array.from({ length: 10_000 }, (_, i) => task({ payload: `{"i":${i}}` }));
        const results = await store.enqueue(tasks);
        expect(results.map(({ id }) => id)).toEqual(tasks.map(({ id }) => id));
        expect(results.some(({ duplicate }) => duplicate)).toBe(false);
        expect(await store.counts(queue)).toMatchObject({ ready: 10_000 });
        expect((await found(tasks[9_999].id)).payload).toEqual({ i: 9_999 });
      });

      it('stores tasks of several queues and names in one call', async () => {
        const other = `${queue}-other`;
        const [one, two] = await store.enqueue([task({ name: 'a' }), task({ queue: other, name: 'b' })]);
        expect(await found(one.id)).toMatchObject({ queue, name: 'a' });
        expect(await found(two.id)).toMatchObject({ queue: other, name: 'b' });
      });

      it('stores all tasks or none', async () => {
        const broken = task({ due: { at: new Date(NaN) } });
        const [first, second] = [task(), task()];
        await expect(store.enqueue([first, broken, second])).rejects.toThrow();
        expect(await store.counts(queue)).toMatchObject({ ready: 0 });
        expect(await store.find(first.id)).toBeNull();
      });

      it('gives one row for the same id in two calls, and leaves the first as it was', async () => {
        const first = task({ payload: '"first"' });
        await store.enqueue([first]);
        expect(await store.enqueue([{ ...first, payload: '"second"' }])).toEqual([{ id: first.id, duplicate: false }]);
        expect((await found(first.id)).payload).toBe('first');
        expect(await store.counts(queue)).toMatchObject({ ready: 1 });
      });

      it('gives one row for the same id twice in one call', async () => {
        const twice = task();
        expect(await store.enqueue([twice, twice])).toEqual([
          { id: twice.id, duplicate: false },
          { id: twice.id, duplicate: false },
        ]);
        expect(await store.counts(queue)).toMatchObject({ ready: 1 });
      });

      it('gives one row for the same id and unique key, and does not call it a duplicate', async () => {
        const twice = task({ uniqueKey: 'k' });
        await store.enqueue([twice]);
        expect(await store.enqueue([twice])).toEqual([{ id: twice.id, duplicate: false }]);
        expect(await store.counts(queue)).toMatchObject({ ready: 1 });
      });

      it('does not run a task again whose id is stored anew while it runs or after it has finished', async () => {
        const worker = await lease();
        const again = task();
        await store.enqueue([again]);
        const { id, claimSeq } = await claimOne(worker);
        await store.enqueue([again], undefined, true);
        expect(await claim(worker)).toEqual([]);
        await settle(worker, finish({ id, queue, claimSeq }));
        expect(await store.enqueue([again], undefined, true)).toEqual([{ id, duplicate: false }]);
        expect(await claim(worker)).toEqual([]);
        expect(await found(id)).toMatchObject({ state: 'done' });
      });

      it('gives one row for 20 calls at once with the same id', async () => {
        await race(async () => {
          const same = task({ name: 'same' });
          const results = await Promise.all(Array.from({ length: 20 }, () => store.enqueue([same])));
          expect(results.flat()).toEqual(Array.from({ length: 20 }, () => ({ id: same.id, duplicate: false })));
          expect(await listIds({ queue })).toContain(same.id);
          expect(await store.remove(same.id)).toBe(true);
          expect(await listIds({ queue })).toEqual([]);
        });
      });
    });

    describe('unique keys', () => {
      it('reports the live task that holds the key instead of storing another', async () => {
        const holder = await add({ uniqueKey: 'k' });
        const other = task({ uniqueKey: 'k' });
        expect(await store.enqueue([other])).toEqual([{ id: holder, duplicate: true }]);
        expect(await store.find(other.id)).toBeNull();
      });

      it('lets the first of equal tasks in one call win', async () => {
        const [one, two, three] = [task({ uniqueKey: 'k' }), task(), task({ uniqueKey: 'k' })];
        expect(await store.enqueue([one, two, three])).toEqual([
          { id: one.id, duplicate: false },
          { id: two.id, duplicate: false },
          { id: one.id, duplicate: true },
        ]);
      });

      it('reports the holder from before to all equal tasks in one call', async () => {
        const holder = await add({ uniqueKey: 'k' });
        const results = await store.enqueue([task({ uniqueKey: 'k' }), task({ uniqueKey: 'k' })]);
        expect(results).toEqual([
          { id: holder, duplicate: true },
          { id: holder, duplicate: true },
        ]);
      });

      it('keeps a key apart from the same key of another queue or task name', async () => {
        const results = await store.enqueue([
          task({ uniqueKey: 'k' }),
          task({ uniqueKey: 'k', name: 'other' }),
          task({ uniqueKey: 'k', queue: `${queue}-other` }),
          task({ uniqueKey: 'K' }),
          task({ uniqueKey: '' }),
        ]);
        expect(results.map(({ duplicate }) => duplicate)).toEqual([false, false, false, false, false]);
      });

      it('holds the key while the task runs and while it waits for a retry', async () => {
        const worker = await lease();
        const id = await add({ uniqueKey: 'k' });
        const claimed = await claimOne(worker);
        expect(await store.enqueue([task({ uniqueKey: 'k' })])).toEqual([{ id, duplicate: true }]);
        await settle(worker, retry(claimed, hourMs));
        expect(await store.enqueue([task({ uniqueKey: 'k' })])).toEqual([{ id, duplicate: true }]);
      });

      it.each(['done', 'failed', 'cancelled'] as const)('frees the key once the task is %s', async (state) => {
        const worker = await lease();
        await add({ uniqueKey: 'k' });
        await settle(worker, finish(await claimOne(worker), { state }));
        const next = task({ uniqueKey: 'k' });
        expect(await store.enqueue([next])).toEqual([{ id: next.id, duplicate: false }]);
      });

      it('frees the key when a ready task is cancelled or removed', async () => {
        await store.cancel(await add({ uniqueKey: 'k' }), keep);
        const second = task({ uniqueKey: 'k' });
        expect(await store.enqueue([second])).toEqual([{ id: second.id, duplicate: false }]);
        await store.remove(second.id);
        const third = task({ uniqueKey: 'k' });
        expect(await store.enqueue([third])).toEqual([{ id: third.id, duplicate: false }]);
      });

      it('lets one of 50 calls at once win, and every loser learns the id of the winner', async () => {
        await race(async () => {
          const uniqueKey = uuid();
          const tasks = Array.from({ length: 50 }, () => task({ uniqueKey }));
          const results = (await Promise.all(tasks.map((one) => store.enqueue([one])))).flat();
          const winners = results.filter(({ duplicate }) => !duplicate);
          expect(winners).toHaveLength(1);
          expect(new Set(results.map(({ id }) => id))).toEqual(new Set([winners[0].id]));
          expect(await listIds({ queue, uniqueKey })).toEqual([winners[0].id]);
        });
      });

      it('does not deadlock when calls at once bring the same keys in opposed orders', async () => {
        await race(async () => {
          const keys = Array.from({ length: 20 }, () => uuid());
          const batches = Array.from({ length: 8 }, (_, i) =>
            (i % 2 ? keys : keys.toReversed()).map((uniqueKey) => task({ uniqueKey })),
          );
          const results = (await Promise.all(batches.map((batch) => store.enqueue(batch)))).flat();
          expect(results.filter(({ duplicate }) => !duplicate)).toHaveLength(20);
          expect(new Set(results.map(({ id }) => id)).size).toBe(20);
        });
      });
    });

    describe('payloads', () => {
      const payloads: readonly (readonly [title: string, value: unknown])[] = [
        ['null', null],
        ['a string', 'text'],
        ['an empty string', ''],
        ['false', false],
        ['zero', 0],
        ['numbers', [0.1, -1, 1e21, 1e-7, 123_456_789_012_345, Number.MAX_SAFE_INTEGER, Number.MAX_VALUE, 5e-324]],
        ['an empty object', {}],
        ['an empty array', []],
        ['nested values', { a: [{ b: { c: [[], [null, [true]]] } }] }],
        ['deeply nested values', JSON.parse(`${'['.repeat(400)}1${']'.repeat(400)}`)],
        ['unicode', { 'ключ 🔑': 'naïve 🧵 日本語 \u2028 \uFFFF e\u0301' }],
        ['quotes, backslashes and control characters', `' " \\ \\u0041 \n\t\b\u0001 $1 %s {}`],
        ['keys of objects', JSON.parse('{"":1,"__proto__":{"admin":true},"constructor":2,"toString":null,"1":3}')],
        ['27 KB', { text: 'é'.repeat(13_500) }],
        ['what looks like a date', '2026-01-01T00:00:00.000Z'],
      ];

      it.each(payloads)('gives %s back as it went, to a look and to a claim', async (_, value) => {
        const worker = await lease();
        const id = await add({ payload: JSON.stringify(value) });
        expect((await found(id)).payload).toStrictEqual(value);
        expect((await claimOne(worker)).payload).toStrictEqual(value);
      });

      it('keeps a __proto__ key as a property of its own', async () => {
        const { payload } = await found(await add({ payload: '{"__proto__":{"admin":true}}' }));
        expect(Object.entries(Object(payload))).toEqual([['__proto__', { admin: true }]]);
        expect(Object.getPrototypeOf(payload)).toBe(Object.prototype);
        expect(payload).not.toHaveProperty('admin');
      });

      it('gives everyone who looks an object of their own', async () => {
        const worker = await lease();
        const id = await add({ payload: '{"list":[1]}' });
        const claimed = await claimOne(worker);
        Object.assign(Object(claimed.payload), { list: [2] });
        expect((await found(id)).payload).toEqual({ list: [1] });
        (await found(id)).scheduledAt.setTime(0);
        expect((await found(id)).scheduledAt.getTime()).toBeGreaterThan(0);
        await settle(worker, release(claimed));
        expect((await claimOne(worker)).payload).toEqual({ list: [1] });
      });
    });

    describe('names', () => {
      const odd = [
        `it's "quoted" and \`ticked\``,
        `'; DROP TABLE task; --`,
        '$1 %s %I ? :name ${x}',
        'ünïcödé 🧵 日本語',
        'back\\slash /slash',
        '{braces},[brackets]',
        '(null)',
        ' spaces ',
        'a.b:c*d',
        'NULL',
      ];

      it.each(odd)('takes %j as the name of a queue, of a task and as unique key', async (text) => {
        const oddQueue = `${queue} ${text}`;
        const worker = await lease();
        const id = await add({ queue: oddQueue, name: text, uniqueKey: text });
        const names = [text, 'other'];
        expect(await store.enqueue([task({ queue: oddQueue, name: text, uniqueKey: text })])).toEqual([
          { id, duplicate: true },
        ]);
        expect(await listIds({ queue: oddQueue, name: text, uniqueKey: text })).toEqual([id]);
        expect(await store.counts(oddQueue)).toMatchObject({ ready: 1 });
        await store.pause(oddQueue);
        expect(await store.pausedQueues()).toContain(oddQueue);
        expect(await store.claim({ workerId: worker.workerId, queue: oddQueue, names, limit: 1 })).toEqual([]);
        await store.resume(oddQueue);
        const [claimed] = await store.claim({ workerId: worker.workerId, queue: oddQueue, names, limit: 1 });
        expect(claimed).toMatchObject({ id, name: text, queue: oddQueue });
        expect(await settle(worker, finish(claimed, { state: 'failed' }))).toEqual([id]);
        expect(await found(id)).toMatchObject({ name: text, queue: oddQueue, uniqueKey: text, state: 'failed' });
      });
    });

    describe('claim', () => {
      it('hands out a task with its attempt and fence counted up', async () => {
        const worker = await lease();
        const id = await add({ priority: 3, maxRetries: 2, timeoutMs: 500, payload: '[1]' });
        const before = await found(id);
        const claimed = await claimOne(worker);
        const after = await found(id);
        expect(claimed).toMatchObject({
          id,
          name: 'work',
          queue,
          payload: [1],
          priority: 3,
          attempt: 1,
          retries: 0,
          maxRetries: 2,
          timeoutMs: 500,
          claimSeq: 1,
        });
        expect(Math.abs(claimed.createdAt - before.createdAt.getTime())).toBeLessThanOrEqual(1);
        expect(Math.abs(claimed.scheduledAt - before.scheduledAt.getTime())).toBeLessThanOrEqual(1);
        expect(after).toMatchObject({ state: 'running', attempt: 1, claimSeq: 1, workerId: worker.workerId });
        expect(after.startedAt).toBeInstanceOf(Date);
        expect(after.finishedAt).toBeNull();
        expect(after.scheduledAt).toEqual(before.scheduledAt);
      });

      it('takes the highest priority first, then the earliest due time, then the oldest id', async () => {
        const worker = await lease();
        const tasks = [
          task({ priority: 0, due: dueAt(20) }),
          task({ priority: 0, due: dueAt(10) }),
          task({ priority: -5, due: dueAt(0) }),
          task({ priority: 9, due: dueAt(30) }),
          task({ priority: 9, due: dueAt(30) }),
          task({ priority: 0, due: dueAt(10) }),
        ];
        await store.enqueue(tasks.toReversed());
        const order = [3, 4, 1, 5, 0, 2].map((index) => tasks[index].id);
        expect(await claimIds(worker)).toEqual(order);
      });

      it('keeps that order across claims of one task each', async () => {
        const worker = await lease();
        const tasks = [0, 2, 1, 2, 0].map((priority) => task({ priority, due: dueAt(0) }));
        await store.enqueue(tasks);
        const order: string[] = [];
        for (let i = 0; i < tasks.length; i++) order.push((await claimOne(worker)).id);
        expect(order).toEqual([1, 3, 2, 0, 4].map((index) => tasks[index].id));
      });

      it('takes no more than the limit', async () => {
        const worker = await lease();
        await store.enqueue([task(), task(), task()]);
        expect(await claim(worker, 2)).toHaveLength(2);
        expect(await claim(worker, 2)).toHaveLength(1);
        expect(await claim(worker, 2)).toEqual([]);
      });

      it('leaves tasks with other names alone, however urgent', async () => {
        const worker = await lease();
        const other = await add({ name: 'other', priority: 100 });
        const a = await add({ name: 'a' });
        const b = await add({ name: 'b', priority: 1 });
        expect(await claimIds(worker, 10, ['unknown'])).toEqual([]);
        expect(await claimIds(worker, 10, [])).toEqual([]);
        expect(await claimIds(worker, 10, ['a', 'b', 'unknown', 'a'])).toEqual([b, a]);
        expect(await found(other)).toMatchObject({ state: 'ready', claimSeq: 0 });
      });

      it('leaves tasks of other queues alone', async () => {
        const worker = await lease();
        await add({ queue: `${queue}-other` });
        expect(await claim(worker)).toEqual([]);
      });

      it('leaves tasks alone that are not due yet, however urgent', async () => {
        const worker = await lease();
        await add({ priority: 100, due: { inMs: hourMs } });
        await add({ priority: 100, due: { at: new Date('2999-01-01') } });
        const due = await add();
        expect(await claimIds(worker)).toEqual([due]);
      });

      it('leaves finished tasks alone', async () => {
        const worker = await lease();
        await store.enqueue([task(), task(), task()]);
        const [one, two, three] = await claim(worker);
        await settle(worker, finish(one), finish(two, { state: 'failed' }), finish(three, { state: 'cancelled' }));
        expect(await claim(worker)).toEqual([]);
      });

      it('gives nothing to a worker that has never registered', async () => {
        await add();
        expect(await store.claim({ workerId: uuid(), queue, names: ['work'], limit: 1 })).toEqual([]);
        expect(await store.counts(queue)).toMatchObject({ ready: 1, running: 0 });
      });

      it('gives nothing to a worker whose lease is over', async () => {
        const [expired, ended] = [await lease(mortal), await lease()];
        await add();
        await subject.expireLease(expired.workerId);
        await ended.end();
        expect(await claim(expired)).toEqual([]);
        expect(await claim(ended)).toEqual([]);
      });

      it('never hands one task to two workers', async () => {
        await race(async () => {
          const workers = await Promise.all(Array.from({ length: 8 }, () => lease()));
          const tasks = Array.from({ length: 400 }, (_, i) => task({ priority: i % 3 }));
          await store.enqueue(tasks);
          const claimed: ClaimedTask[] = [];
          const drain = async (worker: Lease): Promise<void> => {
            for (let batch = await claim(worker, 7); batch.length; batch = await claim(worker, 7))
              claimed.push(...batch);
          };
          await Promise.all([...workers, ...workers].map(drain));
          // A claim that raced others may have come back empty while they held the last ones.
          await drain(workers[0]);
          expect(claimed.map(({ id }) => id).toSorted()).toEqual(tasks.map(({ id }) => id).toSorted());
          expect(new Set(claimed.map(({ claimSeq }) => claimSeq))).toEqual(new Set([1]));
        });
      });
    });

    describe('claim with suspects', () => {
      /** Tasks that as many workers have died with, by id. */
      const crashedTasks = async (count: number, fields: Partial<NewTask> = {}, times = 1): Promise<string[]> => {
        const tasks = Array.from({ length: count }, (_, i) => task({ due: dueAt(i), ...fields }));
        await store.enqueue(tasks);
        for (let n = 0; n < times; n++) {
          const worker = await lease(mortal);
          expect(await claim(worker)).toHaveLength(count);
          await subject.expireLease(worker.workerId);
          expect(await rescue({ maxCrashes: 100 })).toHaveLength(count);
        }
        return tasks.map(({ id }) => id);
      };
      const claimWith = async (
        worker: Lease,
        suspects?: ClaimRequest['suspects'],
        fields: Partial<ClaimRequest> = {},
      ): Promise<ClaimedTask[]> =>
        store.claim({ workerId: worker.workerId, queue, names: ['work'], limit: 100, suspects, ...fields });
      const ids = (claimed: readonly ClaimedTask[]) => claimed.map(({ id }) => id);
      const takeOne = { crashes: 1, takeOne: true };
      const takeNone = { crashes: 1, takeOne: false };

      it('says how many workers have died with each task', async () => {
        await crashedTasks(1, {}, 2);
        await add();
        expect((await claimWith(await lease())).map(({ crashes }) => crashes)).toEqual([2, 0]);
      });

      it('takes one at most, before all others, the one that is due first', async () => {
        const suspects = await crashedTasks(3);
        const urgent = await add({ priority: 5 });
        const late = await add({ due: dueAt(10) });
        const worker = await lease();
        expect(ids(await claimWith(worker, takeOne))).toEqual([suspects[0], urgent, late]);
        expect(ids(await claimWith(worker, takeOne))).toEqual([suspects[1]]);
        const [last] = await claimWith(worker, takeOne);
        expect(last).toMatchObject({ id: suspects[2], crashes: 1, attempt: 2, claimSeq: 2, payload: {} });
        expect(await claimWith(worker, takeOne)).toEqual([]);
      });

      it('takes no more than the limit with it, be that one', async () => {
        const [first] = await crashedTasks(2);
        const others = [await add({ due: dueAt(10) }), await add({ due: dueAt(11) })];
        const worker = await lease();
        expect(ids(await claimWith(worker, takeOne, { limit: 1 }))).toEqual([first]);
        expect(ids(await claimWith(worker, takeNone, { limit: 1 }))).toEqual([others[0]]);
        const rest = await claimWith(worker, takeOne, { limit: 2 });
        expect(rest).toHaveLength(2);
        expect(ids(rest)).toContain(others[1]);
      });

      it('takes none, however urgent, and whoever asks next without suspects takes all alike', async () => {
        const suspects = await crashedTasks(2, { priority: 9 });
        const other = await add();
        const worker = await lease();
        expect(ids(await claimWith(worker, takeNone))).toEqual([other]);
        expect(await claimWith(worker, takeNone)).toEqual([]);
        const [one, two] = [await add({ priority: 10 }), await add({ priority: 8 })];
        expect(ids(await claimWith(worker))).toEqual([one, ...suspects, two]);
      });

      it('takes tasks that fewer workers have died with like any other', async () => {
        const suspects = await crashedTasks(2, {}, 2);
        const worker = await lease();
        const atThree = { crashes: 3, takeOne: false };
        expect(ids(await claimWith(worker, atThree))).toEqual(suspects);
      });

      it('finds the others when there is no suspect', async () => {
        const other = await add();
        expect(ids(await claimWith(await lease(), takeOne))).toEqual([other]);
      });

      it('leaves suspects alone that are not due, that have other names, and those of other queues', async () => {
        const [first] = await crashedTasks(1);
        const worker = await lease();
        expect(await claimWith(worker, takeOne, { names: ['another'] })).toEqual([]);
        expect(await claimWith(worker, takeOne, { queue: `${queue}-other` })).toEqual([]);
        const [claimed] = await claimWith(worker, takeOne);
        expect(claimed.id).toBe(first);
        await settle(worker, retry(claimed, hourMs));
        expect(await claimWith(worker, takeOne)).toEqual([]);
      });

      it('gives none from a paused queue, nor to a worker whose lease is over', async () => {
        const [first] = await crashedTasks(1);
        const [worker, dead] = [await lease(), await lease(mortal)];
        await subject.expireLease(dead.workerId);
        expect(await claimWith(dead, takeOne)).toEqual([]);
        await store.pause(queue);
        expect(await claimWith(worker, takeOne)).toEqual([]);
        await store.resume(queue);
        expect(ids(await claimWith(worker, takeOne))).toEqual([first]);
      });

      it('counts no crash against a suspect that was only claimed ahead', async () => {
        const [first] = await crashedTasks(1);
        const worker = await lease(mortal);
        expect(ids(await claimWith(worker, takeOne, { startNow: 0 }))).toEqual([first]);
        await subject.expireLease(worker.workerId);
        await rescue();
        expect(await found(first)).toMatchObject({ state: 'ready', crashes: 1 });
      });

      it('counts the suspect among those that start now', async () => {
        const [first] = await crashedTasks(1);
        const [second, ahead] = [await add({ due: dueAt(10) }), await add({ due: dueAt(11) })];
        const worker = await lease(mortal);
        expect(ids(await claimWith(worker, takeOne, { startNow: 2 }))).toEqual([first, second, ahead]);
        await subject.expireLease(worker.workerId);
        await rescue();
        expect(await found(first)).toMatchObject({ crashes: 2 });
        expect(await found(second)).toMatchObject({ crashes: 1 });
        expect(await found(ahead)).toMatchObject({ crashes: 0 });
      });

      it('never hands one suspect to two workers, nor two to one claim', async () => {
        await race(async () => {
          const suspects = await crashedTasks(6);
          const workers = await Promise.all(Array.from({ length: 10 }, () => lease()));
          const claims = await Promise.all(workers.map((worker) => claimWith(worker, takeOne)));
          for (const claimed of claims) expect(claimed.length).toBeLessThanOrEqual(1);
          const taken = claims.flat();
          expect(new Set(ids(taken)).size).toBe(taken.length);
          await Promise.all(
            claims.map((claimed, i) => settle(workers[i], ...claimed.map((one) => finish(one, { keepMs: null })))),
          );
          for (const id of suspects) await store.remove(id);
        });
      });
    });

    describe('settle', () => {
      it('answers the state that each task is in now', async () => {
        const worker = await lease();
        await store.enqueue(Array.from({ length: 8 }, () => task()));
        const [done, gone, failed, failedGone, cancelled, back, again, stale] = await claim(worker);
        const settled = await store.settle(worker.workerId, [
          finish(done),
          finish(gone, { keepMs: null }),
          finish(failed, { state: 'failed' }),
          finish(failedGone, { state: 'failed', keepMs: null }),
          finish(cancelled, { state: 'cancelled' }),
          release(back),
          retry(again, hourMs),
          finish({ ...stale, claimSeq: stale.claimSeq - 1 }),
        ]);
        expect(settled).toEqual(
          new Map([
            [done.id, 'done'],
            [gone.id, 'done'],
            [failed.id, 'failed'],
            [failedGone.id, 'failed'],
            [cancelled.id, 'cancelled'],
            [back.id, 'ready'],
            [again.id, 'ready'],
          ]),
        );
      });

      it.each([
        ['kept', keep],
        ['forgotten', drop],
      ] as const)('answers that a task is cancelled, %s, when a wish to cancel has overtaken it', async (_, kept) => {
        const worker = await lease();
        await store.enqueue([task(), task(), task(), task()]);
        const [retried, released, done, gone] = await claim(worker);
        for (const { id } of [retried, released, done, gone]) await store.cancel(id, kept);
        const settled = await store.settle(worker.workerId, [
          retry(retried, 0),
          release(released),
          finish(done),
          finish(gone, { keepMs: null }),
        ]);
        expect(settled).toEqual(
          new Map([
            [retried.id, 'cancelled'],
            [released.id, 'cancelled'],
            [done.id, 'done'],
            [gone.id, 'done'],
          ]),
        );
      });

      it.each(['done', 'failed', 'cancelled'] as const)(
        'ends a task as %s and keeps it when told to',
        async (state) => {
          const worker = await lease();
          const id = await add();
          expect(await settle(worker, finish(await claimOne(worker), { state }))).toEqual([id]);
          const ended = await found(id);
          const attempts = state === 'done' ? [{ number: 1, outcome: 'done', workerId: worker.workerId }] : [];
          expect(ended).toMatchObject({ state, workerId: null, attempt: 1, retries: 0, attempts });
          expect(ended.finishedAt!.getTime()).toBeGreaterThanOrEqual(ended.startedAt!.getTime());
        },
      );

      it.each(['done', 'failed', 'cancelled'] as const)(
        'ends a task as %s and forgets it when told to',
        async (state) => {
          const worker = await lease();
          const id = await add();
          expect(await settle(worker, finish(await claimOne(worker), { state, keepMs: null }))).toEqual([id]);
          expect(await store.find(id)).toBeNull();
          expect(await store.counts(queue)).toEqual({ ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 });
        },
      );

      it('writes down the attempt that a task ends with', async () => {
        const worker = await lease();
        const id = await add();
        const error = {
          name: 'Error',
          message: 'naïve "quotes" 🧵',
          stack: 'at x',
          cause: { name: 'E', message: 'm' },
        };
        const attempt = { number: 1, outcome: 'timedOut', error } as const;
        const reported = structuredClone(attempt);
        await settle(worker, finish(await claimOne(worker), { state: 'failed', attempt: reported }));
        Object.assign(reported.error, { message: 'changed after it was reported' });
        const { attempts, startedAt } = await found(id);
        expect(attempts).toEqual([
          { ...attempt, workerId: worker.workerId, startedAt: expect.any(Date), finishedAt: expect.any(Date) },
        ]);
        expect(Math.abs(attempts[0].startedAt.getTime() - startedAt!.getTime())).toBeLessThanOrEqual(1);
        expect(attempts[0].finishedAt.getTime()).toBeGreaterThanOrEqual(attempts[0].startedAt.getTime());
      });

      it('puts a task back for a retry at once', async () => {
        const worker = await lease();
        const id = await add();
        expect(await settle(worker, retry(await claimOne(worker), 0))).toEqual([id]);
        expect(await found(id)).toMatchObject({
          state: 'ready',
          workerId: null,
          attempt: 1,
          retries: 1,
          finishedAt: null,
        });
        expect(await claimOne(worker)).toMatchObject({ id, attempt: 2, retries: 1, claimSeq: 2 });
      });

      it('puts a task back for a retry after its delay by the clock of the store', async () => {
        const worker = await lease();
        const id = await add();
        await settle(worker, retry(await claimOne(worker), hourMs));
        expect(await claim(worker)).toEqual([]);
        const { scheduledAt, attempts } = await found(id);
        expect(Math.abs(scheduledAt.getTime() - attempts[0].finishedAt.getTime() - hourMs)).toBeLessThan(100);
      });

      it('writes down each failed attempt, oldest first', async () => {
        const worker = await lease();
        const id = await add();
        for (let number = 1; number <= 3; number++) {
          await settle(worker, retry(await claimOne(worker), 0, `failure ${number}`));
        }
        await settle(worker, finish(await claimOne(worker)));
        const ended = await found(id);
        expect(ended).toMatchObject({ state: 'done', attempt: 4, retries: 3 });
        expect(ended.attempts.map(({ number, error }) => [number, error?.message])).toEqual([
          [1, 'failure 1'],
          [2, 'failure 2'],
          [3, 'failure 3'],
          [4, undefined],
        ]);
        expect(ended.attempts[3]).toStrictEqual({
          number: 4,
          outcome: 'done',
          workerId: worker.workerId,
          startedAt: ended.startedAt,
          finishedAt: ended.finishedAt,
        });
      });

      it('remembers an attempt without an error as one without', async () => {
        const worker = await lease();
        const id = await add();
        const claimed = await claimOne(worker);
        await settle(worker, finish(claimed, { state: 'cancelled', attempt: { number: 1, outcome: 'cancelled' } }));
        expect((await found(id)).attempts[0]).toStrictEqual({
          number: 1,
          outcome: 'cancelled',
          workerId: worker.workerId,
          startedAt: expect.any(Date),
          finishedAt: expect.any(Date),
        });
      });

      it('remembers the latest 500 attempts, and of the errors of old ones no more than how they begin', async () => {
        const worker = await lease();
        const id = await add();
        const error = { name: 'Error', message: '🧵'.repeat(300), stack: 'at x', cause: { name: 'E', message: 'm' } };
        for (let number = 1; number <= 503; number++) {
          const claimed = await claimOne(worker);
          const attempt = { number, outcome: 'failed', ...(number % 5 && { error }) } as const;
          await settle(worker, { ...retry(claimed, 0), attempt } as Settlement);
        }
        const { attempt, retries, attempts } = await found(id);
        expect({ attempt, retries }).toEqual({ attempt: 503, retries: 503 });
        expect(attempts.map(({ number }) => number)).toEqual(Array.from({ length: 500 }, (_, i) => i + 4));
        const brief = { name: 'Error', message: '🧵'.repeat(200) };
        const expected = (number: number) => (number > 453 ? error : brief);
        expect(attempts.map((one) => one.error)).toEqual(
          attempts.map(({ number }) => (number % 5 ? expected(number) : undefined)),
        );
      });

      it('gives an unfinished task back without using up an attempt', async () => {
        const worker = await lease();
        const id = await add();
        const before = await found(id);
        expect(await settle(worker, release(await claimOne(worker)))).toEqual([id]);
        expect(await found(id)).toMatchObject({
          state: 'ready',
          workerId: null,
          attempt: 0,
          retries: 0,
          crashes: 0,
          claimSeq: 1,
          attempts: [],
          scheduledAt: before.scheduledAt,
          finishedAt: null,
        });
        expect(await claimOne(worker)).toMatchObject({ id, attempt: 1, claimSeq: 2 });
      });

      it('puts off a snoozed task without using up a retry, and counts the attempt', async () => {
        const worker = await lease();
        const id = await add();
        const claimed = await claimOne(worker);
        const states = await store.settle(worker.workerId, [snooze(claimed, hourMs)]);
        expect(states).toEqual(new Map([[id, 'ready']]));
        expect(await claim(worker, 1)).toEqual([]);
        expect(await store.find(id)).toMatchObject({
          state: 'ready',
          attempt: 1,
          retries: 0,
          crashes: 0,
          attempts: [{ number: 1, outcome: 'snoozed', workerId: worker.workerId }],
        });
        await subject.passTime(queue, hourMs);
        expect(await claimOne(worker)).toMatchObject({ id, attempt: 2, retries: 0, claimSeq: claimed.claimSeq + 1 });
      });

      it('ends a snoozed task that somebody wanted cancelled meanwhile', async () => {
        const worker = await lease();
        const id = await add();
        const claimed = await claimOne(worker);
        await store.cancel(id, () => Infinity);
        const states = await store.settle(worker.workerId, [snooze(claimed, hourMs)]);
        expect(states).toEqual(new Map([[id, 'cancelled']]));
        expect(await store.find(id)).toMatchObject({ state: 'cancelled' });
      });

      it('keeps the place of a released task in the order of claims', async () => {
        const worker = await lease();
        const due = dueAt(0);
        const [first, second] = [await add({ due }), await add({ due })];
        await settle(worker, release(await claimOne(worker)));
        expect(await claimIds(worker)).toEqual([first, second]);
      });

      it('applies a mixed batch, each task as its settlement says', async () => {
        const worker = await lease();
        await store.enqueue(Array.from({ length: 6 }, () => task()));
        const [done, gone, failed, again, back, untouched] = await claim(worker);
        const settled = await settle(
          worker,
          release(back),
          finish(gone, { keepMs: null }),
          retry(again, 0),
          finish(done),
          finish(failed, { state: 'failed', attempt: { number: 1, outcome: 'failed' } }),
        );
        expect(settled).toEqual([done, gone, failed, again, back].map((one) => one.id).toSorted());
        expect(await found(done.id)).toMatchObject({ state: 'done', attempt: 1, attempts: [{ outcome: 'done' }] });
        expect(await store.find(gone.id)).toBeNull();
        expect(await found(failed.id)).toMatchObject({ state: 'failed', attempts: [{ outcome: 'failed' }] });
        expect(await found(again.id)).toMatchObject({ state: 'ready', attempt: 1, retries: 1 });
        expect(await found(back.id)).toMatchObject({ state: 'ready', attempt: 0, retries: 0 });
        expect(await found(untouched.id)).toMatchObject({ state: 'running', workerId: worker.workerId });
      });

      it('settles nothing when given nothing', async () => {
        expect(await settle(await lease())).toEqual([]);
      });

      it('settles 1,000 tasks in one call', async () => {
        const worker = await lease();
        await store.enqueue(Array.from({ length: 1_000 }, () => task()));
        const claimed = await claim(worker, 1_000);
        const settlements = claimed.map((one, i) =>
          i % 2 ? finish(one, { keepMs: i % 3 === 0 ? Infinity : null }) : retry(one, hourMs),
        );
        expect(await settle(worker, ...settlements)).toEqual(claimed.map(({ id }) => id).toSorted());
        expect(await store.counts(queue)).toMatchObject({ ready: 500, running: 0 });
      });

      it('applies the settlements of a batch that still count and leaves out the stale ones', async () => {
        const [worker, other] = [await lease(), await lease()];
        await store.enqueue([task(), task(), task()]);
        const [mine, stale] = await claim(worker, 2);
        const [theirs] = await claim(other, 1);
        expect(
          await settle(worker, finish(theirs), finish({ ...stale, claimSeq: 99 }), finish(mine), {
            kind: 'release',
            id: uuid(),
            queue,
            claimSeq: 1,
          }),
        ).toEqual([mine.id]);
        expect(await found(stale.id)).toMatchObject({ state: 'running', workerId: worker.workerId });
        expect(await found(theirs.id)).toMatchObject({ state: 'running', workerId: other.workerId });
      });

      it('lets each task be settled once, also by calls at once', async () => {
        await race(async () => {
          const worker = await lease();
          await store.enqueue(Array.from({ length: 40 }, () => task()));
          const claimed = await claim(worker);
          const answers = await Promise.all([
            settle(worker, ...claimed.map((one) => finish(one, { state: 'failed' }))),
            settle(worker, ...claimed.map((one) => retry(one, hourMs)).toReversed()),
            settle(worker, ...claimed.map((one) => release(one))),
          ]);
          expect(answers.flat().toSorted()).toEqual(claimed.map(({ id }) => id).toSorted());
          for (const id of await listIds({ queue, state: ['ready', 'running'] })) await store.remove(id);
        });
      });
    });

    describe('fencing', () => {
      const kinds: readonly (readonly [string, (stale: Claim) => Settlement])[] = [
        ['finish', (stale) => finish(stale)],
        ['finish without keeping', (stale) => finish(stale, { keepMs: null })],
        ['retry', (stale) => retry(stale, 0)],
        ['release', (stale) => release(stale)],
      ];

      it.each(kinds)('lets no stale claim %s the task of its successor', async (_, kind) => {
        const worker = await lease();
        const id = await add();
        const stale = await claimOne(worker);
        await settle(worker, release(stale));
        await claimOne(worker);
        const before = await found(id);
        expect(await settle(worker, kind(stale))).toEqual([]);
        expect(await found(id)).toEqual(before);
      });

      it.each(kinds)('lets no other worker %s the task', async (_, kind) => {
        const [worker, other] = [await lease(), await lease()];
        const id = await add();
        const claimed = await claimOne(worker);
        const before = await found(id);
        expect(await settle(other, kind(claimed))).toEqual([]);
        expect(await found(id)).toEqual(before);
      });

      it.each(kinds)('lets nobody %s a task that has been given back', async (_, kind) => {
        const worker = await lease();
        const id = await add();
        const claimed = await claimOne(worker);
        await settle(worker, release(claimed));
        const before = await found(id);
        expect(await settle(worker, kind(claimed))).toEqual([]);
        expect(await found(id)).toEqual(before);
      });

      it.each(kinds)('lets nobody %s a task that has finished', async (_, kind) => {
        const worker = await lease();
        const id = await add();
        const claimed = await claimOne(worker);
        await settle(worker, finish(claimed, { state: 'failed' }));
        const before = await found(id);
        expect(await settle(worker, kind(claimed))).toEqual([]);
        expect(await found(id)).toEqual(before);
      });

      it.each(kinds)('lets no worker %s a task that has been rescued from it', async (_, kind) => {
        const id = await add();
        const { worker, claimed } = await crash();
        const before = await found(id);
        expect(before).toMatchObject({ state: 'ready' });
        expect(await settle(worker, kind(claimed))).toEqual([]);
        expect(await found(id)).toEqual(before);
        const successor = await lease();
        const next = await claimOne(successor);
        expect(await settle(worker, kind(claimed))).toEqual([]);
        expect(await settle(successor, finish(next))).toEqual([id]);
      });

      it('records what a worker has done whose lease is over while nobody has taken its place', async () => {
        const worker = await lease(mortal);
        const id = await add();
        const claimed = await claimOne(worker);
        await subject.expireLease(worker.workerId);
        expect(await settle(worker, finish(claimed))).toEqual([id]);
        expect(await rescue()).toEqual([]);
        expect(await found(id)).toMatchObject({ state: 'done', crashes: 0 });
      });

      it('never reuses a fence, whatever becomes of the task', async () => {
        const worker = await lease();
        const id = await add();
        const fences: number[] = [];
        const next = async (): Promise<ClaimedTask> => {
          const claimed = await claimOne(worker);
          fences.push(claimed.claimSeq);
          return claimed;
        };
        await settle(worker, release(await next()));
        await settle(worker, retry(await next(), 0));
        await settle(worker, finish(await next(), { state: 'failed' }));
        await store.retry(id);
        await store.cancel(id, keep);
        await store.retry(id);
        await settle(worker, finish(await next()));
        expect(fences).toEqual([1, 2, 3, 4]);
        expect(await found(id)).toMatchObject({ claimSeq: 4, attempt: 3 });
      });
    });

    describe('lease', () => {
      it('says how much of it is left, and nothing after its end', async () => {
        const held = await lease(mortal);
        expect(held.remainingMs()).toBeGreaterThan(0);
        expect(held.remainingMs()).toBeLessThanOrEqual(mortal.leaseMs);
        await held.end();
        expect(held.remainingMs()).toBeLessThanOrEqual(0);
      });

      it('carries the id of its worker', async () => {
        const id = uuid();
        const held = await store.lease(
          { id, host: `it's "a" host`, pid: 1, version: '0', queues: [queue, 'ä', `'`] },
          immortal,
          { lost() {}, renewalFailed() {} },
        );
        expect(held.workerId).toBe(id);
      });

      it('tells the worker once when a renewal finds it gone', async () => {
        const renewals = { leaseMs: 30_000, heartbeatMs: 20 };
        const lost = vi.fn<() => void>();
        const first = signal();
        const held = await lease(renewals, () => {
          lost();
          first.resolve();
        });
        await subject.expireLease(held.workerId);
        await first.promise;
        // The renewal of another worker has come round since: so would a second one of this worker.
        const second = signal();
        const other = await lease(renewals, () => second.resolve());
        await subject.expireLease(other.workerId);
        await second.promise;
        expect(lost).toHaveBeenCalledTimes(1);
        expect(held.remainingMs()).toBeLessThanOrEqual(0);
        await held.end();
      });

      it('tells a worker that ended its lease nothing', async () => {
        const renewals = { leaseMs: 30_000, heartbeatMs: 20 };
        const lost = vi.fn<() => void>();
        const held = await lease(renewals, lost);
        await held.end();
        await held.end();
        const later = signal();
        const other = await lease(renewals, () => later.resolve());
        await subject.expireLease(other.workerId);
        await later.promise;
        expect(lost).not.toHaveBeenCalled();
      });

      it('may be sustained while it is held and ignored when it is over', async () => {
        const held = await lease();
        held.sustain(60_000);
        expect(held.remainingMs()).toBeGreaterThan(0);
        await held.end();
        held.sustain(60_000);
        await add();
        expect(await claim(held)).toEqual([]);
      });
    });

    describe('a finished task that stays for a time', () => {
      const ends: [title: string, (forMs: number | null) => Promise<string>][] = [
        [
          'is done',
          async (keepMs) => {
            const id = await add();
            const worker = await lease();
            await settle(worker, finish(await claimOne(worker), { keepMs }));
            return id;
          },
        ],
        [
          'failed',
          async (keepMs) => {
            const id = await add();
            const worker = await lease();
            const attempt = { number: 1, outcome: 'failed' } as const;
            await settle(worker, finish(await claimOne(worker), { state: 'failed', keepMs, attempt }));
            return id;
          },
        ],
        [
          'was cancelled while it was ready',
          async (keepMs) => {
            const id = await add();
            await store.cancel(id, () => keepMs);
            return id;
          },
        ],
        [
          'was cancelled while it ran',
          async (keepMs) => {
            const id = await add();
            const worker = await lease();
            const claimed = await claimOne(worker);
            await store.cancel(id, () => keepMs);
            await settle(worker, retry(claimed, 0));
            return id;
          },
        ],
        [
          'was cancelled while its worker died',
          async (keepMs) => {
            const id = await add();
            const worker = await lease(mortal);
            await claimOne(worker);
            await store.cancel(id, () => keepMs);
            await subject.expireLease(worker.workerId);
            await rescue();
            return id;
          },
        ],
        [
          'is quarantined',
          async (keepMs) => {
            const id = await add();
            await crash({ maxCrashes: 1, keepFailedMs: new Map([[queue, keepMs]]) });
            return id;
          },
        ],
        [
          'is quarantined on a queue that is not listed',
          async (keepMs) => {
            const id = await add();
            await crash({ maxCrashes: 1, keepFailedMs: new Map([[`${queue}-other`, null]]), keepOthersMs: keepMs });
            return id;
          },
        ],
      ];

      it.each(ends)('and %s is there until its time is over', async (_, end) => {
        const id = await end(2 * hourMs);
        const { state } = await found(id);
        await subject.passTime(queue, hourMs);
        expect(await store.find(id)).toMatchObject({ id, state });
        expect(await store.counts(queue)).toMatchObject({ [state]: 1 });
        await subject.passTime(queue, hourMs);
        expect(await store.find(id)).toBeNull();
      });

      it.each(ends)('and %s is there for ever when it is to stay for ever', async (_, end) => {
        const id = await end(Infinity);
        await subject.passTime(queue, 1_000 * hourMs);
        await found(id);
      });

      it.each(ends)('and %s is not there when it is not to stay', async (_, end) => {
        expect(await store.find(await end(null))).toBeNull();
      });

      it('is neither listed, counted, retried nor removed once its time is over', async () => {
        const [gone, stays] = [await add(), await add()];
        await store.cancel(gone, () => hourMs);
        await store.cancel(stays, () => 2 * hourMs);
        await subject.passTime(queue, hourMs);
        expect(await store.retry(gone)).toBe(false);
        expect(await store.remove(gone)).toBe(false);
        expect(await listIds({ queue })).toEqual([stays]);
        expect(await store.counts(queue)).toMatchObject({ ready: 0, cancelled: 1 });
        expect(await store.find(gone)).toBeNull();
      });

      it('stays for a new time each time that it ends', async () => {
        const id = await add();
        await store.cancel(id, () => hourMs);
        expect(await store.retry(id)).toBe(true);
        await subject.passTime(queue, 3 * hourMs);
        await store.cancel(id, () => 2 * hourMs);
        await subject.passTime(queue, hourMs);
        expect(await found(id)).toMatchObject({ state: 'cancelled' });
        await subject.passTime(queue, hourMs);
        expect(await store.find(id)).toBeNull();
      });
    });

    describe('rescue', () => {
      it('gives the tasks of a dead worker back and writes the crash down', async () => {
        const id = await add();
        const due = (await found(id)).scheduledAt;
        const { worker, rescued } = await crash();
        expect(rescued).toEqual([{ id, name: 'work', queue, attempt: 1, crashes: 1, quarantined: false }]);
        const back = await found(id);
        expect(back).toMatchObject({
          state: 'ready',
          workerId: null,
          attempt: 1,
          retries: 0,
          crashes: 1,
          claimSeq: 1,
          scheduledAt: due,
        });
        expect(back.attempts).toEqual([
          {
            number: 1,
            outcome: 'crashed',
            workerId: worker.workerId,
            startedAt: expect.any(Date),
            finishedAt: expect.any(Date),
          },
        ]);
        expect(await claimOne(await lease())).toMatchObject({ id, attempt: 2, retries: 0, claimSeq: 2 });
      });

      it('gives the tasks of a worker back that ended its lease while it still held them', async () => {
        const worker = await lease();
        const id = await add();
        await claimOne(worker);
        await worker.end();
        expect(await rescue()).toMatchObject([{ id, crashes: 1, quarantined: false }]);
      });

      it('leaves the tasks of living workers alone', async () => {
        const worker = await lease();
        const id = await add();
        await claimOne(worker);
        await crashOther();
        expect(await rescue()).toEqual([]);
        expect(await found(id)).toMatchObject({ state: 'running', workerId: worker.workerId, crashes: 0 });

        async function crashOther(): Promise<void> {
          const other = await lease(mortal);
          await subject.expireLease(other.workerId);
        }
      });

      it('rescues each task once, also by calls at once', async () => {
        await race(async () => {
          const worker = await lease(mortal);
          await store.enqueue(Array.from({ length: 60 }, () => task()));
          const ids = await claimIds(worker);
          await subject.expireLease(worker.workerId);
          // A call may skip what another is just rescuing, so that only all of them together have everything.
          const rescued = (await Promise.all([rescue(), rescue(), rescue(), rescue()])).flat();
          rescued.push(...(await rescue()));
          expect(rescued.map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
          for (const id of ids) await store.remove(id);
        });
      });

      it('lets a task be either settled or rescued, never both', async () => {
        await race(async () => {
          const worker = await lease(mortal);
          await store.enqueue(Array.from({ length: 60 }, () => task()));
          const claimed = await claim(worker);
          await subject.expireLease(worker.workerId);
          const [settled, first] = await Promise.all([settle(worker, ...claimed.map((one) => finish(one))), rescue()]);
          const rescued = [...first, ...(await rescue())].map(({ id }) => id);
          expect([...settled, ...rescued].toSorted()).toEqual(claimed.map(({ id }) => id).toSorted());
          expect((await listIds({ queue, state: 'ready' })).toSorted()).toEqual(rescued.toSorted());
          for (const id of rescued) await store.remove(id);
        });
      });

      it('fails a task as quarantined that has outlived too many workers', async () => {
        const id = await add({ uniqueKey: 'k' });
        expect((await crash({ maxCrashes: 2 })).rescued).toMatchObject([{ crashes: 1, quarantined: false }]);
        expect((await crash({ maxCrashes: 2 })).rescued).toEqual([
          { id, name: 'work', queue, attempt: 2, crashes: 2, quarantined: true },
        ]);
        const ended = await found(id);
        expect(ended).toMatchObject({ state: 'failed', workerId: null, crashes: 2, attempt: 2, retries: 0 });
        expect(ended.finishedAt).toBeInstanceOf(Date);
        expect(ended.attempts.map(({ outcome }) => outcome)).toEqual(['crashed', 'crashed']);
        expect(ended.attempts[0]).not.toHaveProperty('error');
        expect(ended.attempts[1].error).toMatchObject({
          name: 'QuarantinedError',
          message: expect.stringMatching(/\b2 workers\b/),
        });
        expect(await claim(await lease())).toEqual([]);
        expect(await store.enqueue([task({ uniqueKey: 'k' })])).toMatchObject([{ duplicate: false }]);
      });

      it('forgets a quarantined task of a queue that does not keep its failed tasks', async () => {
        const id = await add();
        const { rescued } = await crash({
          maxCrashes: 1,
          keepFailedMs: new Map([
            ['another', null],
            [queue, null],
          ]),
        });
        expect(rescued).toMatchObject([{ id, quarantined: true }]);
        expect(await store.find(id)).toBeNull();
      });

      it('keeps a quarantined task of every other queue', async () => {
        const id = await add();
        await crash({ maxCrashes: 1, keepFailedMs: new Map([[`${queue}-other`, null]]) });
        expect(await found(id)).toMatchObject({ state: 'failed' });
      });

      it('forgets a quarantined task of every other queue when none are to stay', async () => {
        const id = await add();
        await crash({ maxCrashes: 1, keepFailedMs: new Map([[`${queue}-other`, Infinity]]), keepOthersMs: null });
        expect(await store.find(id)).toBeNull();
      });

      it('counts crashes apart from failures', async () => {
        const worker = await lease();
        const id = await add();
        await settle(worker, retry(await claimOne(worker), 0));
        await crash();
        await settle(worker, retry(await claimOne(worker), 0));
        const { retries, crashes, attempt, attempts } = await found(id);
        expect({ retries, crashes, attempt }).toEqual({ retries: 2, crashes: 1, attempt: 3 });
        expect(attempts.map(({ number, outcome }) => [number, outcome])).toEqual([
          [1, 'failed'],
          [2, 'crashed'],
          [3, 'failed'],
        ]);
      });
    });

    describe('cancel', () => {
      it('ends a ready task at once', async () => {
        const id = await add({ due: { inMs: hourMs } });
        expect(await store.cancel(id, keep)).toBe('cancelled');
        const ended = await found(id);
        expect(ended).toMatchObject({ state: 'cancelled', attempt: 0, workerId: null, attempts: [] });
        expect(ended.finishedAt).toBeInstanceOf(Date);
        expect(await claim(await lease())).toEqual([]);
      });

      it('forgets a ready task when its queue does not keep it', async () => {
        const id = await add();
        const asked = vi.fn<(queue: string) => number | null>(() => null);
        expect(await store.cancel(id, asked)).toBe('cancelled');
        expect(asked).toHaveBeenCalledWith(queue);
        expect(await store.find(id)).toBeNull();
      });

      it('asks the worker of a running task, and only that one', async () => {
        const [worker, other] = [await lease(), await lease()];
        await store.enqueue([task(), task(), task()]);
        const [one, two] = await claim(worker, 2);
        const [three] = await claim(other);
        expect(await cancelRequests(store, worker.workerId)).toEqual([]);
        expect(await store.cancel(one.id, keep)).toBe('requested');
        expect(await store.cancel(one.id, keep)).toBe('requested');
        expect(await cancelRequests(store, worker.workerId)).toEqual([one.id]);
        expect(await cancelRequests(store, other.workerId)).toEqual([]);
        expect(await cancelRequests(store, uuid())).toEqual([]);
        expect(await found(one.id)).toMatchObject({ state: 'running', workerId: worker.workerId });
        await store.cancel(two.id, keep);
        await store.cancel(three.id, keep);
        expect([...(await cancelRequests(store, worker.workerId))].toSorted()).toEqual([one.id, two.id].toSorted());
        expect(await cancelRequests(store, other.workerId)).toEqual([three.id]);
      });

      it('says that a finished or unknown task is not live', async () => {
        const worker = await lease();
        const id = await add();
        await settle(worker, finish(await claimOne(worker)));
        expect(await store.cancel(id, drop)).toBe('notLive');
        expect(await store.cancel(uuid(), keep)).toBe('notLive');
        expect(await found(id)).toMatchObject({ state: 'done' });
      });

      it.each([
        ['kept', keep],
        ['forgotten', drop],
      ] as const)(
        'ends a task that its worker retries or gives back as cancelled, %s as its queue says',
        async (_, kept) => {
          const worker = await lease();
          await store.enqueue([task(), task()]);
          const [retried, released] = await claim(worker);
          for (const { id } of [retried, released]) await store.cancel(id, kept);
          expect(await settle(worker, retry(retried, 0), release(released))).toEqual(
            [retried.id, released.id].toSorted(),
          );
          expect(await claim(worker)).toEqual([]);
          expect(await cancelRequests(store, worker.workerId)).toEqual([]);
          if (kept === drop) {
            expect(await store.find(retried.id)).toBeNull();
            expect(await store.find(released.id)).toBeNull();
          } else {
            expect(await found(retried.id)).toMatchObject({
              state: 'cancelled',
              retries: 0,
              workerId: null,
              finishedAt: expect.any(Date),
              attempts: [{ number: 1, outcome: 'failed' }],
            });
            expect(await found(released.id)).toMatchObject({ state: 'cancelled', attempts: [] });
          }
        },
      );

      it('lets a task end as its worker says when it finishes in spite of the wish', async () => {
        const worker = await lease();
        const id = await add();
        const claimed = await claimOne(worker);
        await store.cancel(id, drop);
        expect(await settle(worker, finish(claimed))).toEqual([id]);
        expect(await found(id)).toMatchObject({ state: 'done' });
        expect(await cancelRequests(store, worker.workerId)).toEqual([]);
      });

      it('does not outlive the attempt that it was meant for', async () => {
        const worker = await lease();
        const id = await add();
        const first = await claimOne(worker);
        await store.cancel(id, keep);
        await settle(worker, finish(first, { state: 'cancelled' }));
        expect(await store.retry(id)).toBe(true);
        const second = await claimOne(worker);
        expect(await cancelRequests(store, worker.workerId)).toEqual([]);
        await settle(worker, retry(second, 0));
        expect(await found(id)).toMatchObject({ state: 'ready' });
      });

      it('counts no crash against what was only claimed ahead, but the next one whatever it was claimed as', async () => {
        const id = await add();
        const crashAhead = async () => {
          const { workerId } = await lease(mortal);
          expect(await store.claim({ workerId, queue, names: ['work'], limit: 1, startNow: 0 })).toHaveLength(1);
          await subject.expireLease(workerId);
          await rescue();
        };
        await crashAhead();
        expect(await found(id)).toMatchObject({ state: 'ready', crashes: 0, attempts: [] });
        await crashAhead();
        expect(await found(id)).toMatchObject({ state: 'ready', crashes: 1, attempts: [{ outcome: 'crashed' }] });
      });

      it('does not run a task again whose worker died before it could cancel it', async () => {
        const worker = await lease(mortal);
        const id = await add();
        await claimOne(worker);
        await store.cancel(id, keep);
        await subject.expireLease(worker.workerId);
        await rescue();
        expect(await claim(await lease())).toEqual([]);
        expect(await found(id)).toMatchObject({ state: 'cancelled', crashes: 1, attempts: [{ outcome: 'crashed' }] });
      });

      it('either ends a task or asks its worker when it races a claim', async () => {
        await race(async () => {
          const worker = await lease();
          const tasks = Array.from({ length: 40 }, () => task());
          await store.enqueue(tasks);
          const [claimed, ...outcomes] = await Promise.all([
            claimIds(worker),
            ...tasks.map(({ id }) => store.cancel(id, keep)),
          ]);
          const requested = tasks.filter((_, i) => outcomes[i] === 'requested').map(({ id }) => id);
          expect(outcomes).not.toContain('notLive');
          expect(requested.toSorted()).toEqual(claimed.toSorted());
          expect([...(await cancelRequests(store, worker.workerId))].toSorted()).toEqual(claimed.toSorted());
        });
      });
    });

    describe('retry of a finished task', () => {
      it.each(['failed', 'cancelled'] as const)('puts a %s task back with all its retries', async (state) => {
        const worker = await lease();
        const id = await add();
        await settle(worker, retry(await claimOne(worker), 0));
        const attempt = { number: 2, outcome: 'failed' } as const;
        await settle(worker, finish(await claimOne(worker), { state, attempt }));
        const ended = await found(id);
        expect(await store.retry(id)).toBe(true);
        const back = await found(id);
        expect(back).toMatchObject({
          state: 'ready',
          retries: 0,
          crashes: 0,
          attempt: 2,
          claimSeq: 2,
          workerId: null,
          finishedAt: null,
          createdAt: ended.createdAt,
        });
        expect(back.attempts).toEqual(ended.attempts);
        expect(await claimOne(worker)).toMatchObject({ id, attempt: 3, retries: 0, claimSeq: 3 });
        expect(await store.counts(queue)).toMatchObject({ running: 1, failed: 0, cancelled: 0 });
      });

      it('makes a task due at once that it puts back', async () => {
        const worker = await lease();
        const id = await add({ due: dueAt(0) });
        await settle(worker, finish(await claimOne(worker), { state: 'failed' }));
        const { finishedAt } = await found(id);
        await store.retry(id);
        expect((await found(id)).scheduledAt.getTime()).toBeGreaterThanOrEqual(finishedAt!.getTime());
      });

      it('puts a quarantined task back as if no worker had died of it', async () => {
        const id = await add();
        await crash({ maxCrashes: 1 });
        expect(await store.retry(id)).toBe(true);
        expect(await found(id)).toMatchObject({ state: 'ready', crashes: 0, attempt: 1 });
        expect((await crash({ maxCrashes: 2 })).rescued).toMatchObject([{ id, crashes: 1, quarantined: false }]);
      });

      it('leaves done, live and unknown tasks alone', async () => {
        const worker = await lease();
        const done = await add();
        await settle(worker, finish(await claimOne(worker)));
        const running = await add();
        await claimOne(worker);
        const ready = await add();
        const before = await Promise.all([done, running, ready].map(found));
        for (const id of [done, running, ready, uuid()]) expect(await store.retry(id)).toBe(false);
        expect(await Promise.all([done, running, ready].map(found))).toEqual(before);
      });

      it('refuses while another live task holds the unique key, and says which', async () => {
        const worker = await lease();
        const id = await add({ uniqueKey: 'k' });
        await settle(worker, finish(await claimOne(worker), { state: 'failed' }));
        const holder = await add({ uniqueKey: 'k' });
        const refused = store.retry(id);
        await expect(refused).rejects.toBeInstanceOf(UniqueKeyTakenError);
        await expect(refused).rejects.toThrow(holder);
        expect(await found(id)).toMatchObject({ state: 'failed' });
        await store.cancel(holder, keep);
        expect(await store.retry(id)).toBe(true);
        expect(await store.enqueue([task({ uniqueKey: 'k' })])).toEqual([{ id, duplicate: true }]);
        await expect(store.retry(holder)).rejects.toBeInstanceOf(UniqueKeyTakenError);
      });

      it('leaves one live task a unique key when it races an enqueue', async () => {
        await race(async () => {
          const uniqueKey = uuid();
          const id = await add({ uniqueKey });
          await store.cancel(id, keep);
          const other = task({ uniqueKey });
          const [retried, stored] = await Promise.allSettled([store.retry(id), store.enqueue([other])]);
          const live = await listIds({ queue, uniqueKey, state: ['ready', 'running'] });
          expect(live).toHaveLength(1);
          expect(stored).toMatchObject({ status: 'fulfilled', value: [{ id: live[0] }] });
          if (live[0] === id) expect(retried).toMatchObject({ status: 'fulfilled', value: true });
          else expect(retried).toMatchObject({ status: 'rejected', reason: expect.any(UniqueKeyTakenError) });
        });
      });

      it('puts a task back once when several ask at once', async () => {
        await race(async () => {
          const id = await add();
          await store.cancel(id, keep);
          const answers = await Promise.all(Array.from({ length: 10 }, () => store.retry(id)));
          expect(answers.filter(Boolean)).toHaveLength(1);
          expect(await listIds({ queue, state: 'ready' })).toEqual([id]);
          await store.remove(id);
        });
      });
    });

    describe('remove', () => {
      it('deletes ready and finished tasks', async () => {
        const worker = await lease();
        const ids = [await add(), await add(), await add()];
        const [one, two, three] = await claim(worker);
        await settle(worker, finish(one), finish(two, { state: 'failed' }), finish(three, { state: 'cancelled' }));
        ids.push(await add({ due: { inMs: hourMs } }));
        for (const id of ids) {
          expect(await store.remove(id)).toBe(true);
          expect(await store.find(id)).toBeNull();
          expect(await store.remove(id)).toBe(false);
        }
        expect(await listIds({ queue })).toEqual([]);
      });

      it('leaves a running task to its worker', async () => {
        const worker = await lease();
        const id = await add();
        const claimed = await claimOne(worker);
        expect(await store.remove(id)).toBe(false);
        expect(await settle(worker, finish(claimed))).toEqual([id]);
      });

      it('says that there was no task of an unknown id', async () => {
        expect(await store.remove(uuid())).toBe(false);
      });

      it('either deletes a task or leaves it to the claim that it races', async () => {
        await race(async () => {
          const worker = await lease();
          const tasks = Array.from({ length: 40 }, () => task());
          await store.enqueue(tasks);
          const [claimed, ...removed] = await Promise.all([
            claimIds(worker),
            ...tasks.map(({ id }) => store.remove(id)),
          ]);
          const left = tasks.filter((_, i) => !removed[i]).map(({ id }) => id);
          expect(left.toSorted()).toEqual(claimed.toSorted());
        });
      });
    });

    describe('pause', () => {
      it('lets nobody claim from a queue until it is resumed', async () => {
        const [worker, other] = [await lease(), await lease()];
        const id = await add();
        await store.pause(queue);
        await store.pause(queue);
        expect(await claim(worker)).toEqual([]);
        expect(await claim(other)).toEqual([]);
        expect(await claim(await lease())).toEqual([]);
        await store.resume(queue);
        expect(await claimIds(worker)).toEqual([id]);
        await store.resume(queue);
      });

      it('leaves other queues alone', async () => {
        await store.pause(`${queue}-other`);
        const id = await add();
        expect(await claimIds(await lease())).toEqual([id]);
        await store.resume(`${queue}-other`);
      });

      it('lets what runs go on, and new tasks be stored', async () => {
        const worker = await lease();
        const running = await add();
        const claimed = await claimOne(worker);
        await store.pause(queue);
        await add();
        expect(await settle(worker, retry(claimed, 0))).toEqual([running]);
        expect(await store.counts(queue)).toMatchObject({ ready: 2, running: 0 });
        expect(await claim(worker)).toEqual([]);
        await store.resume(queue);
        expect(await claim(worker)).toHaveLength(2);
      });

      it('tells which queues are paused, also those without tasks', async () => {
        expect(await store.pausedQueues()).not.toContain(queue);
        await store.pause(queue);
        expect((await store.pausedQueues()).filter((paused) => paused === queue)).toEqual([queue]);
        const others = [`${queue}-a`, `${queue}-b`];
        for (const other of others.toReversed()) await store.pause(other);
        const all = (await store.pausedQueues()).filter((paused) => paused.startsWith(queue));
        expect(all).toEqual([queue, ...others]);
        for (const other of others) await store.resume(other);
        await store.resume(queue);
        expect(await store.pausedQueues()).not.toContain(queue);
      });
    });

    describe('find', () => {
      it('finds nothing under an unknown id', async () => {
        expect(await store.find(uuid())).toBeNull();
      });
    });

    describe('list', () => {
      it('shows the newest first unless told otherwise', async () => {
        const ids = await mixture();
        expect(await listIds({ queue })).toEqual(ids.toReversed());
        expect(await listIds({ queue }, 'newestFirst')).toEqual(ids.toReversed());
        expect(await listIds({ queue }, 'oldestFirst')).toEqual(ids);
      });

      it.each(['newestFirst', 'oldestFirst'] as const)(
        'pages through live and finished tasks %s without a gap or a double',
        async (order) => {
          const ids = await mixture();
          const expected = order === 'oldestFirst' ? ids : ids.toReversed();
          for (const limit of [1, 2, 3, 5, 11, 12, 13])
            expect(await listIds({ queue }, order, limit)).toEqual(expected);
        },
      );

      it('says that the last page is the last, also when it is full', async () => {
        await mixture();
        expect((await store.list({ queue }, { limit: 12 })).next).toBeNull();
        expect((await store.list({ queue }, { limit: 11 })).next).toEqual(expect.any(String));
        expect(await store.list({ queue: `${queue}-empty` }, {})).toEqual({ tasks: [], next: null });
      });

      it('shows a task as find does', async () => {
        await mixture();
        for (const listed of (await store.list({ queue }, {})).tasks) expect(listed).toEqual(await found(listed.id));
      });

      it('goes on from its cursor while tasks come, go and change their state', async () => {
        const ids = await mixture();
        const first = await store.list({ queue }, { limit: 4, order: 'oldestFirst' });
        expect(first.tasks.map(({ id }) => id)).toEqual(ids.slice(0, 4));
        await store.remove(ids[3]);
        await store.cancel(ids[4], keep);
        await store.retry(ids[7]);
        const late = await add();
        const after = first.next!;
        const rest = await store.list({ queue }, { order: 'oldestFirst', after });
        expect(rest.tasks.map(({ id }) => id)).toEqual([...ids.slice(4), late]);
      });

      it('filters by state, one or several', async () => {
        const ids = await mixture();
        const at = (...indexes: number[]): string[] => indexes.map((index) => ids[index]);
        expect(await listIds({ queue, state: 'ready' }, 'oldestFirst')).toEqual(at(0, 4, 8));
        expect(await listIds({ queue, state: 'running' }, 'oldestFirst')).toEqual(at(1, 5, 9));
        expect(await listIds({ queue, state: 'done' }, 'oldestFirst')).toEqual(at(2, 6, 10));
        expect(await listIds({ queue, state: 'failed' }, 'oldestFirst')).toEqual(at(3, 7, 11));
        expect(await listIds({ queue, state: 'cancelled' })).toEqual([]);
        expect(await listIds({ queue, state: ['ready', 'failed'] }, 'oldestFirst', 2)).toEqual(at(0, 3, 4, 7, 8, 11));
        expect(await listIds({ queue, state: ['done', 'failed'] }, 'newestFirst', 4)).toEqual(
          at(2, 3, 6, 7, 10, 11).toReversed(),
        );
      });

      it('filters by name, by unique key, and by all at once', async () => {
        const ids = await mixture();
        const even = ids.filter((_, i) => i % 2 === 0);
        expect(await listIds({ queue, name: 'even' }, 'oldestFirst', 4)).toEqual(even);
        expect(await listIds({ queue, name: 'even', state: 'done' }, 'oldestFirst')).toEqual(
          [2, 6, 10].map((i) => ids[i]),
        );
        expect(await listIds({ queue, name: 'odd', state: 'done' })).toEqual([]);
        const unique = await add({ uniqueKey: queue });
        expect(await listIds({ uniqueKey: queue })).toEqual([unique]);
        await store.cancel(unique, keep);
        const again = await add({ uniqueKey: queue });
        expect(await listIds({ uniqueKey: queue }, 'oldestFirst')).toEqual([unique, again]);
        expect(await listIds({ uniqueKey: queue, state: 'cancelled' })).toEqual([unique]);
      });

      it('shows the tasks of every queue when none is named', async () => {
        const here = await add();
        const there = await add({ queue: `${queue}-other` });
        const { tasks } = await store.list({}, { limit: 2 });
        expect(tasks.map(({ id }) => id)).toEqual([there, here]);
      });

      it('shows at most 100 unless told otherwise, and at most 1,000', async () => {
        await store.enqueue(Array.from({ length: 1_001 }, () => task()));
        expect((await store.list({ queue }, {})).tasks).toHaveLength(100);
        const page = await store.list({ queue }, { limit: 1_000 });
        expect(page.tasks).toHaveLength(1_000);
        expect((await store.list({ queue }, { after: page.next! })).tasks).toHaveLength(1);
      });

      it.each([0, -1, 1_001, 1.5, NaN, Infinity])('refuses %d as a limit', async (limit) => {
        await expect(store.list({ queue }, { limit })).rejects.toBeInstanceOf(InvalidOptionsError);
      });

      it.each(['', 'nonsense', `'; --`, '🧵', 'AAAA', '%00'])('refuses %j as a cursor', async (after) => {
        await expect(store.list({ queue }, { after })).rejects.toBeInstanceOf(InvalidOptionsError);
      });
    });

    describe('counts', () => {
      it('has a number for every state', async () => {
        expect(await store.counts(queue)).toEqual({ ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 });
        const worker = await lease();
        await store.enqueue(Array.from({ length: 7 }, () => task()));
        const claimed = await claim(worker, 6);
        await settle(
          worker,
          finish(claimed[0]),
          finish(claimed[1], { state: 'failed' }),
          finish(claimed[2], { state: 'cancelled' }),
          finish(claimed[3], { keepMs: null }),
          retry(claimed[4], hourMs),
        );
        expect(await store.counts(queue)).toEqual({ ready: 2, running: 1, done: 1, failed: 1, cancelled: 1 });
      });

      it('adds all queues up when none is named', async () => {
        const before = await store.counts();
        await store.enqueue([task(), task({ queue: `${queue}-other` })]);
        await store.cancel(await add(), keep);
        expect(await store.counts()).toEqual({
          ...before,
          ready: before.ready + 2,
          cancelled: before.cancelled + 1,
        });
      });
    });

    describe('listen', () => {
      it('tells of new work, of work that is back and of a queue that goes on', async () => {
        const { heard, stop } = await hear(store);
        const wake = { kind: 'wake', queue } as const;
        await expectHint(() => add(), wake);
        const id = (await listIds({ queue }))[0];
        await store.cancel(id, keep);
        await expectHint(() => store.retry(id), wake);
        await store.pause(queue);
        await expectHint(() => store.resume(queue), wake);
        await stop();

        async function expectHint(work: () => Promise<unknown>, hint: StoreHint): Promise<void> {
          const hinted = heard(hint);
          await work();
          await hinted;
        }
      });

      it('tells that a running task is to be cancelled', async () => {
        const worker = await lease();
        const id = await add();
        await claimOne(worker);
        const { heard, stop } = await hear(store);
        const hinted = heard({ kind: 'cancel', id });
        await store.cancel(id, keep);
        await hinted;
        await stop();
      });

      it('tells every listener, and none that has stopped', async () => {
        const [one, two, stopped] = [await hear(store), await hear(store), await hear(store)];
        await stopped.stop();
        await stopped.stop();
        const hinted = [one.heard({ kind: 'wake', queue }), two.heard({ kind: 'wake', queue })];
        await add();
        await Promise.all(hinted);
        expect(stopped.hints.filter((hint) => hint.kind === 'wake' && hint.queue === queue)).toEqual([]);
        await one.stop();
        await two.stop();
      });

      it('goes on telling the others when one listener throws', async () => {
        const failing = await store.listen(() => {
          throw new Error('a listener that fails');
        });
        const other = await hear(store);
        const hinted = other.heard({ kind: 'wake', queue });
        await add();
        await hinted;
        await other.stop();
        await failing.stop();
      });
    });

    describe('hand-off', () => {
      it('stores a task as claimed by the worker that it is meant for', async () => {
        const { workerId } = await lease();
        const given = task({ handTo: workerId });
        expect(await store.enqueue([given])).toEqual([
          { id: given.id, duplicate: false, handedAt: expect.any(Number) },
        ]);
        expect(await found(given.id)).toMatchObject({ state: 'running', workerId, attempt: 1, claimSeq: 1 });
      });

      it('leaves it ready while the queue is paused, and when the lease has ended', async () => {
        const live = await lease();
        await store.pause(queue);
        const paused = task({ handTo: live.workerId });
        expect((await store.enqueue([paused]))[0].handedAt).toBeUndefined();
        await store.resume(queue);
        const dead = await lease(mortal);
        await subject.expireLease(dead.workerId);
        const late = task({ handTo: dead.workerId });
        expect((await store.enqueue([late]))[0].handedAt).toBeUndefined();
        expect((await claimIds(live)).toSorted()).toEqual([paused.id, late.id].toSorted());
      });

      it('holds a key until its first claim though it was meant to be handed over', async () => {
        const live = await lease();
        await store.pause(queue);
        const unique = { scope: 'waiting', windowMs: null, replace: false, movesDue: false } as const;
        const given = task({ handTo: live.workerId, uniqueKey: 'k', unique });
        await store.enqueue([given], undefined, true);
        expect(await store.enqueue([task({ uniqueKey: 'k', unique })])).toEqual([{ id: given.id, duplicate: true }]);
      });

      it('says again that it was handed over when the enqueue is repeated', async () => {
        const { workerId } = await lease();
        const given = task({ handTo: workerId });
        await store.enqueue([given]);
        const [repeated] = await store.enqueue([given], undefined, true);
        expect(repeated).toMatchObject({ id: given.id, duplicate: false, handedAt: expect.any(Number) });
      });
    });

    describe('scopes', () => {
      it('runs an effect at once when there is no transaction to wait for', () => {
        const effect = vi.fn<() => void>();
        store.afterCommit(undefined, effect);
        expect(effect).toHaveBeenCalledTimes(1);
      });

      it('knows of no transaction when there is none', () => {
        expect(store.ambientScope()).toBeUndefined();
      });
    });

    describe('the store itself', () => {
      it('says where the tasks are', () => {
        expect(store.description).toMatch(/\S/);
      });

      it('does not take an error of its caller for one of the connection', () => {
        for (const error of [new InvalidOptionsError('x'), new TypeError('x'), 'x', null, undefined]) {
          expect(store.isTransient(error)).toBe(false);
        }
      });

      it('refuses every call after it was closed, and may be closed twice', async () => {
        const closing = await create();
        const { store: closed } = closing;
        const held = await leaseOf(closed, [queue]);
        await closed.close();
        await closed.close();
        const calls: readonly (() => Promise<unknown>)[] = [
          () => closed.enqueue([task()]),
          () => leaseOf(closed, [queue]),
          () => closed.claim({ workerId: held.workerId, queue, names: ['work'], limit: 1 }),
          () => closed.settle(held.workerId, [release({ id: uuid(), queue, claimSeq: 1 })]),
          () => closed.holdings(held.workerId),
          () => closed.nextDueMs(queue),
          () => closed.rescue({ leaseMs: 0, maxCrashes: 3, keepFailedMs: new Map() }),
          () => closed.find(uuid()),
          () => closed.list({}, {}),
          () => closed.counts(),
          () => closed.cancel(uuid(), keep),
          () => closed.retry(uuid()),
          () => closed.remove(uuid()),
          () => closed.pause(queue),
          () => closed.resume(queue),
          () => closed.pausedQueues(),
        ];
        for (const call of calls) await expect(call(), call.toString()).rejects.toBeInstanceOf(StoreClosedError);
        await closing.dispose();
      });
    });

    describeUniqueTerms(() => subject);
    describeTaskStoreModel(() => subject);
  });
}
