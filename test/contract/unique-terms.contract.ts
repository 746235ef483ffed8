import type { ClaimedTask, Lease, NewTask, Task } from 'nestjs-backie';
import { v7 as uuid } from 'uuid';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  finish,
  hourMs,
  immortal,
  leaseOf,
  mortal,
  newTask,
  release,
  retry,
  type TaskStoreUnderTest,
} from './task-store.fixtures.js';

type Terms = NonNullable<NewTask['unique']>;

const terms = (fields: Partial<Terms>): Terms => ({
  scope: 'live',
  windowMs: null,
  replace: false,
  movesDue: false,
  ...fields,
});
const whileWaiting = terms({ scope: 'waiting' });
const replacing = terms({ replace: true });
const debounced = terms({ scope: 'waiting', replace: true, movesDue: true });
const hourly = terms({ scope: 'window', windowMs: hourMs });
const keepAll = { keepCancelledMs: new Map<string, number | null>() };

/** What every store must hold of unique keys that are not simply held by a live task, and of tasks that expire. */
export function describeUniqueTerms(subject: () => TaskStoreUnderTest): void {
  let queue: string;
  let queues = 0;
  let worker: Lease;
  const store = () => subject().store;
  const task = (fields: Partial<NewTask> = {}): NewTask => newTask({ queue, uniqueKey: 'k', ...fields });
  const add = async (fields: Partial<NewTask> = {}) => (await store().enqueue([task(fields)]))[0];
  const found = async (id: string): Promise<Task> => (await store().find(id))!;
  const claim = (limit = 100): Promise<ClaimedTask[]> =>
    store().claim({ workerId: worker.workerId, queue, names: ['work'], limit });
  const live = async () => (await store().list({ queue, state: ['ready', 'running'] }, { order: 'oldestFirst' })).tasks;
  const pass = (ms: number) => subject().passTime(queue, ms);
  const expire = async (request = keepAll) => {
    const { expired } = await store().expire(request);
    return expired.filter((one) => one.queue === queue);
  };
  const race = async (round: () => Promise<void>): Promise<void> => {
    for (let rounds = subject().racing ? 5 : 1; rounds > 0; rounds--) await round();
  };

  beforeEach(async () => {
    queue = `terms-${++queues}`;
    worker = await leaseOf(store(), [queue], immortal);
  });
  afterEach(() => worker.end());

  describe('a unique key that is held while the task waits', () => {
    it('is held until the first claim, and by the next task from then on', async () => {
      const first = await add({ unique: whileWaiting });
      expect(await add({ unique: whileWaiting })).toEqual({ id: first.id, duplicate: true });
      await claim();
      const second = await add({ unique: whileWaiting });
      expect(second.duplicate).toBe(false);
      expect(await add({ unique: whileWaiting })).toEqual({ id: second.id, duplicate: true });
    });

    it('is never taken back, so that a retry, a release and a rescue beside its next holder conflict with nobody', async () => {
      for (const goBack of [
        async (claimed: ClaimedTask) => void (await store().settle(worker.workerId, [retry(claimed, 0)])),
        async (claimed: ClaimedTask) => void (await store().settle(worker.workerId, [release(claimed)])),
        async () => {
          await worker.end();
          await store().rescue({ leaseMs: 0, maxCrashes: 9, keepFailedMs: new Map() });
          worker = await leaseOf(store(), [queue], immortal);
        },
      ]) {
        const uniqueKey = uuid();
        const first = await add({ uniqueKey, unique: whileWaiting });
        const [claimed] = await claim();
        const second = await add({ uniqueKey, unique: whileWaiting });
        await goBack(claimed);
        expect((await found(first.id)).state).toBe('ready');
        expect(await add({ uniqueKey, unique: whileWaiting })).toEqual({ id: second.id, duplicate: true });
        const both = await claim();
        expect(both.map(({ id }) => id).toSorted()).toEqual([first.id, second.id].toSorted());
        await store().settle(
          worker.workerId,
          both.map((one) => finish(one)),
        );
      }
    });

    it('is taken again by a retry of a task that never ran, and by none that did', async () => {
      const never = await add({ unique: whileWaiting });
      await store().cancel(never.id, () => Infinity);
      const ran = await add({ unique: whileWaiting });
      const [claimed] = await claim();
      await store().settle(worker.workerId, [finish(claimed, { state: 'failed' })]);
      expect(await store().retry(never.id)).toBe(true);
      expect(await store().retry(ran.id)).toBe(true);
      expect(await add({ unique: whileWaiting })).toEqual({ id: never.id, duplicate: true });
      await store().cancel(never.id, () => Infinity);
      await add({ unique: whileWaiting });
      await expect(store().retry(never.id)).rejects.toThrow(/same unique key/);
    });

    it('lets one of 50 calls at once win', async () => {
      await race(async () => {
        const uniqueKey = uuid();
        const calls = Array.from({ length: 50 }, () => add({ uniqueKey, unique: whileWaiting }));
        const results = await Promise.all(calls);
        expect(results.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
        expect(new Set(results.map(({ id }) => id)).size).toBe(1);
      });
    });
  });

  describe('a unique key whose holder is replaced', () => {
    const later = {
      payload: '"later"',
      priority: 5,
      maxRetries: 7,
      timeoutMs: 1_234,
      expiresInMs: 2 * hourMs,
      unique: replacing,
    };

    it('gives a holder that has not started the new payload and options, and keeps its id and its due time', async () => {
      const holder = await add({ due: { inMs: hourMs }, payload: '"first"' });
      const { scheduledAt, createdAt } = await found(holder.id);
      expect(await add(later)).toEqual({ id: holder.id, duplicate: true, replaced: true });
      expect(await live()).toHaveLength(1);
      const { expiresAt, ...shown } = await found(holder.id);
      expect(shown).toMatchObject({ payload: 'later', priority: 5, maxRetries: 7, timeoutMs: 1_234 });
      expect(shown).toMatchObject({ scheduledAt, createdAt, state: 'ready', uniqueKey: 'k' });
      expect(expiresAt!.getTime() - createdAt.getTime()).toBeGreaterThanOrEqual(2 * hourMs);
      await add({ payload: '"last"', unique: replacing });
      expect(await found(holder.id)).toMatchObject({ payload: 'last', priority: 0, maxRetries: null, expiresAt: null });
    });

    it('moves its due time when the call gives one', async () => {
      const { id } = await add({ due: { inMs: hourMs }, unique: replacing });
      await add({ payload: '"now"', unique: terms({ replace: true, movesDue: true }) });
      expect(await claim()).toMatchObject([{ id, payload: 'now' }]);
    });

    it('leaves a holder alone that runs, or waits for a retry', async () => {
      const { id } = await add({ payload: '"first"', unique: replacing });
      const [claimed] = await claim();
      expect(await add(later)).toEqual({ id, duplicate: true });
      await store().settle(worker.workerId, [retry(claimed, hourMs)]);
      expect(await add(later)).toEqual({ id, duplicate: true });
      expect(await found(id)).toMatchObject({ payload: 'first', priority: 0 });
    });

    it('replaces a holder that was given back before it started', async () => {
      const { id } = await add({ unique: replacing });
      const [claimed] = await claim();
      await store().settle(worker.workerId, [release(claimed)]);
      expect(await add(later)).toEqual({ id, duplicate: true, replaced: true });
      expect(await claim()).toMatchObject([{ id, payload: 'later' }]);
    });

    it('lets the last of equal tasks in one call win, under the id of the first', async () => {
      const holder = await add({ uniqueKey: 'old', unique: replacing });
      const give = (uniqueKey: string, payload: number) =>
        task({ uniqueKey, payload: `${payload}`, unique: replacing });
      const tasks = [give('a', 1), give('old', 2), give('b', 3), give('a', 4), give('old', 5), give('a', 6)];
      const [a, b] = [tasks[0].id, tasks[2].id];
      expect(await store().enqueue(tasks)).toEqual([
        { id: a, duplicate: false },
        { id: holder.id, duplicate: true, replaced: true },
        { id: b, duplicate: false },
        { id: a, duplicate: true, replaced: true },
        { id: holder.id, duplicate: true, replaced: true },
        { id: a, duplicate: true, replaced: true },
      ]);
      const payloads = new Map((await live()).map(({ id, payload }) => [id, payload]));
      expect(payloads).toEqual(
        new Map([
          [a, 6],
          [b, 3],
          [holder.id, 5],
        ]),
      );
    });

    it('gives one row for the same id stored again, and leaves a newer payload in its place', async () => {
      const first = task({ payload: '"first"', unique: replacing });
      await store().enqueue([first]);
      await add({ payload: '"newer"', unique: replacing });
      expect(await store().enqueue([first], undefined, true)).toEqual([{ id: first.id, duplicate: false }]);
      expect(await live()).toMatchObject([{ id: first.id, payload: 'newer' }]);
    });

    it('ends up with one task, and the payload of one of 50 calls at once', async () => {
      await race(async () => {
        const uniqueKey = uuid();
        const calls = Array.from({ length: 50 }, (_, i) => add({ uniqueKey, payload: `${i}`, unique: replacing }));
        const results = await Promise.all(calls);
        expect(results.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
        expect(results.filter(({ replaced }) => replaced)).toHaveLength(49);
        expect((await live()).filter((one) => one.uniqueKey === uniqueKey)).toHaveLength(1);
      });
    });

    it('does not deadlock when calls at once bring the same keys in opposed orders', async () => {
      await race(async () => {
        const keys = Array.from({ length: 20 }, () => uuid());
        const batches = Array.from({ length: 8 }, (_, i) =>
          (i % 2 ? keys : keys.toReversed()).map((uniqueKey) => task({ uniqueKey, unique: replacing })),
        );
        const results = (await Promise.all(batches.map((batch) => store().enqueue(batch)))).flat();
        expect(results.filter(({ duplicate }) => !duplicate)).toHaveLength(20);
      });
    });

    it('either replaces a task or leaves it to the claim that it races, which then has the payload it was shown', async () => {
      await race(async () => {
        const uniqueKey = uuid();
        const { id } = await add({ uniqueKey, payload: '"first"', unique: replacing });
        const [result, claimed] = await Promise.all([add({ uniqueKey, payload: '"new"', unique: replacing }), claim()]);
        const [one] = [...claimed, ...(await claim())];
        expect(result.id).toBe(id);
        expect(one.payload).toBe(result.replaced ? 'new' : 'first');
        expect((await found(id)).payload).toBe(one.payload);
        await store().settle(worker.workerId, [finish(one)]);
      });
    });
  });

  describe('a debounced task', () => {
    const push = (payload: number, inMs = hourMs) => add({ payload: `${payload}`, due: { inMs }, unique: debounced });

    it('is due that long after the latest enqueue, with its payload', async () => {
      const { id } = await push(1);
      await pass(0.7 * hourMs);
      expect(await push(2)).toEqual({ id, duplicate: true, replaced: true });
      await pass(0.7 * hourMs);
      expect(await claim()).toEqual([]);
      await pass(0.7 * hourMs);
      expect(await claim()).toMatchObject([{ id, payload: 2 }]);
    });

    it('makes way for the next once it has started, so that nothing is missed', async () => {
      const first = await push(1, 0);
      await claim();
      const second = await push(2);
      expect(second).toMatchObject({ duplicate: false });
      expect(await push(3)).toEqual({ id: second.id, duplicate: true, replaced: true });
      expect(await live()).toMatchObject([
        { id: first.id, state: 'running', payload: 1 },
        { id: second.id, state: 'ready', payload: 3 },
      ]);
    });

    it('loses no call of many that race its claims: each is in what ran, or in what waits', async () => {
      await race(async () => {
        const uniqueKey = uuid();
        const ran: unknown[] = [];
        const pushed = new AbortController();
        const claimAll = async () => {
          while (!pushed.signal.aborted) for (const one of await claim()) ran.push(one.payload);
        };
        const pushing = async () => {
          for (let i = 0; i < 60; i++) await add({ uniqueKey, payload: `${i}`, due: { inMs: 0 }, unique: debounced });
          pushed.abort();
        };
        await Promise.all([pushing(), claimAll()]);
        for (const one of await claim()) ran.push(one.payload);
        expect(ran.at(-1)).toBe(59);
        expect(new Set(ran).size).toBe(ran.length);
        expect(ran).toEqual(ran.toSorted((one, other) => Number(one) - Number(other)));
      });
    });
  });

  describe('a unique key that is held for a window', () => {
    it('is held for that long whatever becomes of its task, and then by nobody', async () => {
      const first = await add({ unique: hourly });
      const [claimed] = await claim();
      expect(await add({ unique: hourly })).toEqual({ id: first.id, duplicate: true });
      await store().settle(worker.workerId, [finish(claimed, { keepMs: null })]);
      await pass(0.7 * hourMs);
      expect(await add({ unique: hourly })).toEqual({ id: first.id, duplicate: true });
      await pass(0.7 * hourMs);
      const second = await add({ unique: hourly });
      expect(second.duplicate).toBe(false);
      await pass(0.7 * hourMs);
      expect(await add({ unique: hourly })).toEqual({ id: second.id, duplicate: true });
    });

    it('is free again after the window though its task still lives', async () => {
      const first = await add({ unique: hourly, due: { inMs: 9 * hourMs } });
      await pass(1.5 * hourMs);
      const second = await add({ unique: hourly });
      expect(second).toMatchObject({ duplicate: false });
      expect((await live()).map(({ id }) => id).toSorted()).toEqual([first.id, second.id].toSorted());
    });

    it('stays held when windows that are over are forgotten', async () => {
      const over = await add({ unique: terms({ scope: 'window', windowMs: 1 }), uniqueKey: 'short' });
      const first = await add({ unique: hourly });
      await pass(0.5 * hourMs);
      await expire();
      expect(await add({ unique: hourly })).toEqual({ id: first.id, duplicate: true });
      expect((await add({ unique: hourly, uniqueKey: 'short' })).id).not.toBe(over.id);
    });

    it('says of the same id that it is no duplicate', async () => {
      const again = task({ unique: hourly });
      await store().enqueue([again]);
      expect(await store().enqueue([again], undefined, true)).toEqual([{ id: again.id, duplicate: false }]);
      expect(await live()).toHaveLength(1);
    });

    it('replaces a holder that has not started, and no other', async () => {
      const unique = terms({ scope: 'window', windowMs: hourMs, replace: true });
      const first = await add({ unique, payload: '1' });
      expect(await add({ unique, payload: '2' })).toEqual({ id: first.id, duplicate: true, replaced: true });
      const [claimed] = await claim();
      expect(claimed.payload).toBe(2);
      expect(await add({ unique, payload: '3' })).toEqual({ id: first.id, duplicate: true });
      await store().settle(worker.workerId, [finish(claimed)]);
      expect(await add({ unique, payload: '4' })).toEqual({ id: first.id, duplicate: true });
      expect((await found(first.id)).payload).toBe(2);
    });

    it('keeps the first of equal tasks in one call, or the last when it replaces', async () => {
      const many = (uniqueKey: string, unique: Terms) =>
        [1, 2, 3].map((payload) => task({ uniqueKey, payload: `${payload}`, unique }));
      for (const [unique, payload] of [
        [hourly, 1],
        [terms({ scope: 'window', windowMs: hourMs, replace: true }), 3],
      ] as const) {
        const tasks = many(`${payload}`, unique);
        const results = await store().enqueue(tasks);
        expect(results.map(({ id }) => id)).toEqual(tasks.map(() => tasks[0].id));
        expect(results.map(({ duplicate }) => duplicate)).toEqual([false, true, true]);
        expect(await found(tasks[0].id)).toMatchObject({ payload });
      }
    });

    it('lets one of 50 calls at once win', async () => {
      await race(async () => {
        const uniqueKey = uuid();
        const results = await Promise.all(Array.from({ length: 50 }, () => add({ uniqueKey, unique: hourly })));
        expect(results.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
        expect(new Set(results.map(({ id }) => id)).size).toBe(1);
        expect((await live()).filter((one) => one.uniqueKey === uniqueKey)).toHaveLength(1);
      });
    });
  });

  describe('a task that expires', () => {
    const soon = { expiresInMs: hourMs };

    it('ends as cancelled, and says why', async () => {
      const { id } = await add(soon);
      const { createdAt, expiresAt, reason } = await found(id);
      expect([expiresAt!.getTime() - createdAt.getTime(), reason]).toEqual([hourMs, null]);
      await pass(0.7 * hourMs);
      expect(await expire()).toEqual([]);
      await pass(0.7 * hourMs);
      expect(await expire()).toEqual([{ id, name: 'work', queue }]);
      expect(await expire()).toEqual([]);
      const { state, attempts, finishedAt, ...ended } = await found(id);
      expect([state, attempts]).toEqual(['cancelled', []]);
      expect(finishedAt).toBeInstanceOf(Date);
      expect(ended).toMatchObject({ reason: 'expired', attempt: 0, workerId: null });
    });

    it('stays as long as cancelled tasks of its queue do', async () => {
      const { id } = await add(soon);
      await pass(2 * hourMs);
      expect(await expire({ keepCancelledMs: new Map([[queue, null]]) })).toHaveLength(1);
      expect(await store().find(id)).toBeNull();
    });

    it('stays by what is said of all other queues when its own is not listed', async () => {
      const keepCancelledMs = new Map([[`${queue}-other`, 5 * hourMs]]);
      const end = async (keepOthersMs: number | null) => {
        const { id } = await add(soon);
        await pass(2 * hourMs);
        await store().expire({ keepCancelledMs, keepOthersMs });
        return id;
      };
      expect(await store().find(await end(null))).toBeNull();
      const [brief, endless] = [await end(2 * hourMs), await end(Infinity)];
      // The end of the second has let as much time pass.
      expect(await store().find(brief)).toBeNull();
      await pass(1_000 * hourMs);
      expect((await found(endless)).state).toBe('cancelled');
      const kept = await end(2 * hourMs);
      await pass(hourMs);
      expect((await found(kept)).state).toBe('cancelled');
    });

    it('is not claimed any more, whether or not somebody has ended it', async () => {
      await add(soon);
      await pass(2 * hourMs);
      expect(await claim()).toEqual([]);
      const next = await add({ uniqueKey: null });
      expect((await claim()).map(({ id }) => id)).toEqual([next.id]);
    });

    it('says at its first claim for how long it may still start, and at no other', async () => {
      await add(soon);
      const [claimed] = await claim();
      expect(claimed.expiresInMs).toBeGreaterThan(hourMs - 60_000);
      expect(claimed.expiresInMs).toBeLessThanOrEqual(hourMs);
      await store().settle(worker.workerId, [retry(claimed, 0)]);
      expect((await claim())[0].expiresInMs ?? null).toBeNull();
      const never = await add({ uniqueKey: null });
      expect((await claim()).map(({ id, expiresInMs }) => [id, expiresInMs ?? null])).toEqual([[never.id, null]]);
    });

    it('does not expire once it has started, whether it runs, is retried or was rescued', async () => {
      const ids = new Set<string>();
      for (const uniqueKey of ['runs', 'retried']) ids.add((await add({ ...soon, uniqueKey })).id);
      const claimed = await claim();
      await store().settle(worker.workerId, [retry(claimed[1], hourMs)]);
      const dying = await leaseOf(store(), [queue], mortal);
      ids.add((await add({ ...soon, uniqueKey: 'rescued' })).id);
      await store().claim({ workerId: dying.workerId, queue, names: ['work'], limit: 1 });
      await dying.end();
      await store().rescue({ leaseMs: 0, maxCrashes: 9, keepFailedMs: new Map() });
      await pass(2 * hourMs);
      expect(await expire()).toEqual([]);
      expect(new Set((await live()).map(({ id }) => id))).toEqual(ids);
    });

    it('expires when it was given back before it started', async () => {
      const { id } = await add(soon);
      const [claimed] = await claim();
      await pass(2 * hourMs);
      expect(await expire()).toEqual([]);
      await store().settle(worker.workerId, [release(claimed)]);
      expect(await claim()).toEqual([]);
      expect(await expire()).toMatchObject([{ id }]);
    });

    it('may be retried, and never expires then', async () => {
      const { id } = await add(soon);
      await pass(2 * hourMs);
      await expire();
      expect(await store().retry(id)).toBe(true);
      expect(await found(id)).toMatchObject({ state: 'ready', reason: null, expiresAt: null });
      await pass(hourMs);
      expect(await expire()).toEqual([]);
      expect(await claim()).toMatchObject([{ id }]);
    });

    it.each<[string, Terms | undefined]>([
      ['while it lives', undefined],
      ['while it waits', whileWaiting],
      ['until it is replaced', replacing],
      ['until it is debounced', debounced],
    ])('does not block its unique key any more, held %s, though nobody has ended it', async (_, unique) => {
      const rules = unique && { unique };
      const first = await add({ ...soon, ...rules });
      await pass(2 * hourMs);
      const second = await add({ ...soon, ...rules });
      expect(second).toMatchObject({ duplicate: false });
      expect(await add(rules)).toMatchObject({ id: second.id, duplicate: true });
      expect(await expire()).toMatchObject([{ id: first.id }]);
      await expect(store().retry(first.id)).rejects.toThrow(second.id);
      await store().remove(second.id);
      expect(await store().retry(first.id)).toBe(true);
      expect(await add(rules)).toMatchObject({ id: first.id, duplicate: true });
    });

    it('is ended once by calls at once, and either ended or claimed', async () => {
      await race(async () => {
        await store().enqueue(Array.from({ length: 20 }, () => task({ ...soon, uniqueKey: null })));
        await pass(hourMs - 1);
        const sweeps = Array.from({ length: 4 }, () => expire());
        const [claimed, ...ended] = await Promise.all([claim(7), ...sweeps]);
        await pass(1_000);
        ended.push(await expire());
        const ids = [...claimed.map(({ id }) => id), ...ended.flat().map(({ id }) => id)];
        expect(new Set(ids).size).toBe(20);
        expect(ids).toHaveLength(20);
        await store().settle(
          worker.workerId,
          claimed.map((one) => finish(one)),
        );
      });
    });

    it('says when the next one expires, and ends more than 1,000 in one call', async () => {
      await store().enqueue(Array.from({ length: 2_500 }, () => task({ expiresInMs: 1_000, uniqueKey: null })));
      await add(soon);
      const { nextInMs } = await store().expire(keepAll);
      expect(nextInMs).toBeGreaterThan(0);
      expect(nextInMs).toBeLessThanOrEqual(hourMs);
      await pass(0.5 * hourMs);
      expect(await expire()).toHaveLength(2_500);
      expect(await store().counts(queue)).toMatchObject({ ready: 1, cancelled: 2_500 });
    });
  });
}
