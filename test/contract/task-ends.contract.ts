import {
  type BulkStore,
  type ClaimedTask,
  type Lease,
  type NewTask,
  type PickFilter,
  type Task,
  type TaskStore,
  UniqueKeyTakenError,
} from 'nestjs-backie';
import { v7 as uuid } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  cancelRequests,
  finish,
  hear,
  hourMs,
  leaseOf,
  mortal,
  newTask,
  release,
  retry,
  type TaskStoreUnderTest,
} from './task-store.fixtures.js';

const forEver = () => Infinity;
const failed = { number: 1, outcome: 'failed', error: { name: 'Error', message: 'no' } } as const;
const later = Date.now() + 24 * hourMs;

/** What every store must hold of the ends of tasks: results, dead letters, and changes of many. */
export function describeTaskEnds(name: string, create: () => Promise<TaskStoreUnderTest>): void {
  describe(name, () => {
    let subject: TaskStoreUnderTest;
    let store: TaskStore;
    let bulk: BulkStore;
    let queue: string;
    let dead: string;
    let worker: Lease;
    let queues = 0;

    beforeAll(async () => {
      subject = await create();
      store = subject.store;
      bulk = store.bulk;
    });
    afterAll(() => subject?.dispose());
    beforeEach(async () => {
      queue = `queue-${++queues}`;
      dead = `dead-${queues}`;
      worker = await leaseOf(store, [queue]);
    });

    const add = async (fields: Partial<NewTask> = {}): Promise<string> => {
      const [{ id }] = await store.enqueue([newTask({ queue, ...fields })]);
      return id;
    };
    const claim = (limit = 100): Promise<ClaimedTask[]> =>
      store.claim({ workerId: worker.workerId, queue, names: ['work', 'other'], limit });
    const claimOne = async (): Promise<ClaimedTask> => {
      const [claimed] = await claim(1);
      expect(claimed).toBeDefined();
      return claimed;
    };
    const settle = (...settlements: Parameters<TaskStore['settle']>[1]) => store.settle(worker.workerId, settlements);
    const found = async (id: string): Promise<Task> => {
      const task = await store.find(id);
      expect(task, `task ${id}`).not.toBeNull();
      return task!;
    };
    const outcome = async (id: string) => (await store.outcomes([id])).get(id);
    /** A task that has become a dead letter. */
    const deadLetter = async (fields: Partial<NewTask> = {}): Promise<string> => {
      const id = await add(fields);
      await settle(finish(await claimOne(), { state: 'failed', attempt: failed, deadLetter: dead }));
      return id;
    };
    const pick = (among: 'live' | 'finished', filter: Partial<PickFilter> = {}, limit = 100, after = null) =>
      bulk.pick({ among, filter: { queue, before: later, ...filter }, limit, after });
    const idsOf = (tasks: readonly { readonly id: string }[]) => tasks.map(({ id }) => id);

    describe('results', () => {
      it.each([
        ['an object', '{"rows": [1, "zwei \\" \\\\ 🧵", null]}'],
        ['null', 'null'],
        ['a string that needs escapes', '"{a,\\"b\\",NULL}"'],
        ['a text of one megabyte', JSON.stringify('x'.repeat(1_000_000))],
      ])('stores the result of a done task: %s', async (_, result) => {
        const id = await add();
        await settle(finish(await claimOne(), { result }));
        expect((await found(id)).result).toEqual(JSON.parse(result));
        expect(await outcome(id)).toEqual({
          name: 'work',
          queue,
          state: 'done',
          result: JSON.parse(result) as unknown,
        });
      });

      it('has none of a task that returned nothing, also beside one that has', async () => {
        const ids = [await add(), await add(), await add()];
        const claimed = await claim(3);
        const of = (id: string) => claimed.find((one) => one.id === id)!;
        const states = await settle(
          finish(of(ids[0])),
          finish(of(ids[1]), { result: '7' }),
          finish(of(ids[2]), { result: '8', keepMs: hourMs }),
        );
        expect([...states.values()]).toEqual(['done', 'done', 'done']);
        expect((await found(ids[0])).result).toBeUndefined();
        expect(await outcome(ids[0])).toEqual({ name: 'work', queue, state: 'done' });
        expect((await found(ids[1])).result).toBe(7);
        expect((await found(ids[2])).result).toBe(8);
      });

      it('stores more results at once than one statement carries', async () => {
        const ids = await Promise.all(Array.from({ length: 12 }, () => add()));
        const result = JSON.stringify('y'.repeat(1_000_000));
        await settle(...(await claim(12)).map((one) => finish(one, { result })));
        const outcomes = await store.outcomes(ids);
        expect(ids.map((id) => outcomes.get(id)?.state)).toEqual(ids.map(() => 'done'));
      });

      it('says of each task where it stands, and nothing of one that is not there', async () => {
        const [ready, running] = [await add({ due: { inMs: hourMs } }), await add()];
        await claimOne();
        const ended = await add({ name: 'other' });
        await settle(finish(await claimOne(), { state: 'failed', attempt: failed }));
        const cancelled = await add({ due: { inMs: hourMs } });
        await store.cancel(cancelled, forEver);
        const outcomes = await store.outcomes([ready, running, ended, cancelled, uuid(), 'no id', ready]);
        expect(outcomes).toEqual(
          new Map([
            [ready, { name: 'work', queue, state: 'ready' }],
            [running, { name: 'work', queue, state: 'running' }],
            [ended, { name: 'other', queue, state: 'failed', error: failed.error }],
            [cancelled, { name: 'work', queue, state: 'cancelled' }],
          ]),
        );
        expect(await store.outcomes([])).toEqual(new Map());
      });

      it('says nothing of a finished task whose time is over', async () => {
        const id = await add();
        await settle(finish(await claimOne(), { result: '1', keepMs: 1 }));
        await subject.passTime(queue, hourMs);
        expect(await outcome(id)).toBeUndefined();
      });

      it.each<[string, (id: string) => Promise<unknown>]>([
        ['is done', async () => settle(finish(await claimOne()))],
        ['is done and leaves no trace', async () => settle(finish(await claimOne(), { keepMs: null }))],
        ['has failed', async () => settle(finish(await claimOne(), { state: 'failed', attempt: failed }))],
        ['is cancelled while it is ready', (id) => store.cancel(id, forEver)],
        [
          'is cancelled as its worker gives it back',
          async (id) => {
            const claimed = await claimOne();
            await store.cancel(id, forEver);
            await settle(release(claimed));
          },
        ],
        ['is removed', (id) => store.remove(id)],
        ['is cancelled among many', async () => bulk.cancel(await pick('live'), forEver)],
        ['is removed among many', async () => bulk.remove(await pick('live'))],
        [
          'is quarantined',
          async () => {
            const dying = await leaseOf(store, [queue], mortal);
            await store.claim({ workerId: dying.workerId, queue, names: ['work'], limit: 1 });
            await subject.expireLease(dying.workerId);
            await store.rescue({ leaseMs: 0, maxCrashes: 1, keepFailedMs: new Map() });
          },
        ],
      ])('tells when an awaited task %s, and of no other', async (_, end) => {
        const awaited = await add();
        const { hints, heard, stop } = await hear(store);
        await outcome(awaited);
        const told = heard({ kind: 'ended', id: awaited });
        await end(awaited);
        await told;
        const other = await add();
        await settle(finish(await claimOne()));
        // What comes after it has come by now.
        const last = await add();
        await outcome(last);
        const toldLast = heard({ kind: 'ended', id: last });
        await settle(finish(await claimOne()));
        await toldLast;
        expect(hints.filter((hint) => hint.kind === 'ended' && hint.id === other)).toEqual([]);
        expect(hints.filter((hint) => hint.kind === 'ended' && hint.id === awaited)).toHaveLength(1);
        await stop();
      });

      it('tells when an awaited task has expired, and says so', async () => {
        const id = await add({ expiresInMs: 20, due: { inMs: hourMs } });
        const { heard, stop } = await hear(store);
        await outcome(id);
        const told = heard({ kind: 'ended', id });
        await expect
          .poll(async () => (await store.expire({ keepCancelledMs: new Map() })).expired.map((one) => one.id))
          .toContain(id);
        await told;
        await stop();
        expect(await outcome(id)).toEqual({ name: 'work', queue, state: 'cancelled', reason: 'expired' });
      });

      it('stays awaited over retries', async () => {
        const id = await add();
        const { heard, stop } = await hear(store);
        await outcome(id);
        await settle(retry(await claimOne(), 0));
        const told = heard({ kind: 'ended', id });
        await settle(finish(await claimOne()));
        await told;
        await stop();
      });

      it('sees the end of a task, or is told of it, when it looks while the task ends', async () => {
        const { hints, stop } = await hear(store);
        for (let round = 0; round < 30; round++) {
          const id = await add();
          const claimed = await claimOne();
          const [seen] = await Promise.all([outcome(id), settle(finish(claimed))]);
          const barrier = await add();
          await outcome(barrier);
          await settle(finish(await claimOne()));
          await expect.poll(() => hints.some((hint) => hint.kind === 'ended' && hint.id === barrier)).toBe(true);
          const told = hints.some((hint) => hint.kind === 'ended' && hint.id === id);
          // One that is missing is looked for again at once.
          expect(told || seen === undefined || seen.state === 'done').toBe(true);
          expect(await outcome(id)).toMatchObject({ state: 'done' });
        }
        await stop();
      });
    });

    describe('dead letters', () => {
      it('moves a task that has failed under their queue, with its payload and attempts', async () => {
        const id = await add({ payload: '{"a":1}' });
        await settle(retry(await claimOne(), 0));
        await settle(
          finish(await claimOne(), { state: 'failed', attempt: { ...failed, number: 2 }, deadLetter: dead }),
        );
        expect(await found(id)).toMatchObject({
          state: 'failed',
          queue: dead,
          deadFrom: queue,
          payload: { a: 1 },
          attempts: [{ number: 1 }, { number: 2, error: failed.error, workerId: worker.workerId }],
        });
        expect(await store.counts(queue)).toMatchObject({ ready: 0, running: 0, failed: 0 });
        expect(await store.counts(dead)).toMatchObject({ ready: 0, running: 0, failed: 1 });
        expect(idsOf((await store.list({ queue: dead }, {})).tasks)).toEqual([id]);
        expect(await outcome(id)).toMatchObject({ state: 'failed', queue, error: failed.error });
      });

      it('is no dead letter under its own queue', async () => {
        const id = await add();
        await settle(finish(await claimOne(), { state: 'failed', attempt: failed, deadLetter: queue }));
        expect(await found(id)).toMatchObject({ state: 'failed', queue, deadFrom: null });
      });

      it('is worked by nobody, and holds no unique key', async () => {
        const id = await deadLetter({ uniqueKey: 'k' });
        expect(await store.claim({ workerId: worker.workerId, queue: dead, names: ['work'], limit: 1 })).toEqual([]);
        const [again] = await store.enqueue([newTask({ queue, uniqueKey: 'k' })]);
        expect(again).toMatchObject({ duplicate: false });
        expect(again.id).not.toBe(id);
      });

      it('moves a quarantined task there, for ever, and leaves one whose name has none where it is', async () => {
        const [lost, other] = [await add(), await add({ name: 'other' })];
        const dying = await leaseOf(store, [queue], mortal);
        await store.claim({ workerId: dying.workerId, queue, names: ['work', 'other'], limit: 2 });
        await subject.expireLease(dying.workerId);
        const keepFailedMs = new Map([[queue, null]]);
        const rescued = await store.rescue({ leaseMs: 0, maxCrashes: 1, keepFailedMs, deadLetters: { work: dead } });
        expect(
          rescued
            .filter((one) => one.queue === queue)
            .map(({ id }) => id)
            .toSorted(),
        ).toEqual([lost, other]);
        expect(await found(lost)).toMatchObject({
          queue: dead,
          deadFrom: queue,
          crashes: 1,
          attempts: [{ outcome: 'crashed', error: { name: 'QuarantinedError' } }],
        });
        expect(await store.find(other)).toBeNull();
      });

      it('does not make a dead letter of what somebody wanted cancelled', async () => {
        const id = await add();
        const dying = await leaseOf(store, [queue], mortal);
        await store.claim({ workerId: dying.workerId, queue, names: ['work'], limit: 1 });
        await store.cancel(id, forEver);
        await subject.expireLease(dying.workerId);
        await store.rescue({ leaseMs: 0, maxCrashes: 1, keepFailedMs: new Map(), deadLetters: { work: dead } });
        expect(await found(id)).toMatchObject({ state: 'cancelled', queue, deadFrom: null });
      });

      it('goes back to where it came from by a retry; its attempts go on counting', async () => {
        const id = await deadLetter();
        expect(await store.retry(id)).toBe(true);
        expect(await found(id)).toMatchObject({ state: 'ready', queue, deadFrom: null, attempt: 1, retries: 0 });
        const claimed = await claimOne();
        expect(claimed).toMatchObject({ id, attempt: 2, claimSeq: 2 });
        await settle(finish(claimed));
        expect((await found(id)).attempts.map((one) => [one.number, one.outcome])).toEqual([
          [1, 'failed'],
          [2, 'done'],
        ]);
      });

      it('names who holds its unique key when it cannot go back', async () => {
        const id = await deadLetter({ uniqueKey: 'k' });
        const holder = await add({ uniqueKey: 'k' });
        const refused = store.retry(id);
        await expect(refused).rejects.toThrow(UniqueKeyTakenError);
        await expect(refused).rejects.toThrow(holder);
        expect(await found(id)).toMatchObject({ queue: dead, deadFrom: queue });
      });

      it('is not stored anew by a repeated enqueue of its id', async () => {
        const task = newTask({ queue });
        await store.enqueue([task]);
        await settle(finish(await claimOne(), { state: 'failed', attempt: failed, deadLetter: dead }));
        await store.enqueue([task], undefined, true);
        expect(await claim()).toEqual([]);
        expect(await found(task.id)).toMatchObject({ queue: dead });
      });
    });

    describe('many', () => {
      it('picks by the order of ids, page by page, among live or finished tasks', async () => {
        const tasks = Array.from({ length: 7 }, () => newTask({ queue }));
        await store.enqueue(tasks);
        const [one, two] = await claim(2);
        await settle(finish(one), finish(two, { state: 'failed' }));
        const first = await bulk.pick({ among: 'live', filter: { queue, before: later }, limit: 3, after: null });
        const rest = await bulk.pick({
          among: 'live',
          filter: { queue, before: later },
          limit: 3,
          after: first.at(-1)!.id,
        });
        const ended = new Set([one.id, two.id]);
        expect(idsOf([...first, ...rest])).toEqual(idsOf(tasks).filter((id) => !ended.has(id)));
        expect(first[0]).toEqual({ id: first[0].id, queue, name: 'work' });
        expect(idsOf(await pick('finished'))).toEqual([one.id, two.id].toSorted());
      });

      it('leaves out no id at either end, as lists do, page by page', async () => {
        const ids = ['0', '7', 'f'].map((digit) => '00000000-0000-0000-0000-000000000000'.replaceAll('0', digit));
        await store.enqueue(ids.map((id) => newTask({ queue, id })));
        const picked: string[] = [];
        for (const after of [null, ...ids]) {
          picked.push(...idsOf(await bulk.pick({ among: 'live', filter: { queue, before: later }, limit: 1, after })));
        }
        expect(picked).toEqual(ids);
        for (const order of ['oldestFirst', 'newestFirst'] as const) {
          const listed: string[] = [];
          for (let after: string | null | undefined; after !== null;) {
            const { tasks, next } = await store.list({ queue }, { limit: 1, order, ...(after && { after }) });
            listed.push(...idsOf(tasks));
            after = next;
          }
          expect(listed).toEqual(order === 'oldestFirst' ? ids : ids.toReversed());
        }
      });

      it('picks dead letters of a queue page by page', async () => {
        const letters = [await deadLetter(), await deadLetter(), await deadLetter()].toSorted();
        const filter = { queue: dead, before: later, dead: true };
        const picked: string[] = [];
        for (const after of [null, ...letters]) {
          picked.push(...idsOf(await bulk.pick({ among: 'finished', filter, limit: 1, after })));
        }
        expect(picked).toEqual(letters);
        expect(await bulk.pick({ among: 'finished', filter: { ...filter, queue }, limit: 1, after: null })).toEqual([]);
      });

      it('picks by name, state, unique key, time and dead letters, and by all at once', async () => {
        const letter = await deadLetter();
        const [odd, key] = [await add({ name: 'other' }), await add({ uniqueKey: 'k' })];
        expect(idsOf(await pick('live', { name: 'other' }))).toEqual([odd]);
        expect(idsOf(await pick('live', { uniqueKey: 'k' }))).toEqual([key]);
        expect(await pick('live', { uniqueKey: 'k', name: 'other' })).toEqual([]);
        const [held] = await claim(1);
        expect(idsOf(await pick('live', { states: ['running'] }))).toEqual([held.id]);
        expect(await pick('live', { states: [] })).toEqual([]);
        const { createdAt } = await found(odd);
        expect(await pick('live', { before: createdAt.getTime() - 1 })).toEqual([]);
        expect(idsOf(await pick('live', { before: createdAt.getTime() + 1, name: 'other' }))).toEqual([odd]);
        expect(await pick('finished', { dead: true })).toEqual([]);
        expect(idsOf(await pick('finished', { queue: dead, dead: true }))).toEqual([letter]);
        expect(idsOf(await pick('finished', { queue: dead, dead: true, deadFrom: queue }))).toEqual([letter]);
        expect(await pick('finished', { queue: dead, dead: true, deadFrom: dead })).toEqual([]);
        expect(await pick('finished', { queue: dead, dead: false })).toEqual([]);
      });

      it('picks nothing whose time is over', async () => {
        await add();
        await settle(finish(await claimOne(), { keepMs: 1 }));
        const kept = await add();
        await settle(finish(await claimOne()));
        await subject.passTime(queue, hourMs);
        expect((await pick('finished')).map(({ id }) => id)).toEqual([kept]);
      });

      it('cancels those that are ready, asks the workers of those that run, and leaves the rest alone', async () => {
        const [running, ended] = [await add(), await add()];
        const claimed = await claim(2);
        await settle(finish(claimed.find(({ id }) => id === ended)!));
        const ready = await add();
        const { heard, stop } = await hear(store);
        const asked = heard({ kind: 'cancel', id: running });
        const tasks = [running, ended, ready, uuid()].map((id) => ({ id, queue, name: 'work' }));
        expect(await bulk.cancel(tasks, forEver)).toEqual(
          new Map([
            [running, 'requested'],
            [ready, 'cancelled'],
          ]),
        );
        await asked;
        await stop();
        expect(await found(ready)).toMatchObject({ state: 'cancelled' });
        expect(await found(ended)).toMatchObject({ state: 'done' });
        expect(await cancelRequests(store, worker.workerId)).toEqual([running]);
        await settle(release(claimed.find(({ id }) => id === running)!));
        expect(await found(running)).toMatchObject({ state: 'cancelled' });
        expect(await bulk.cancel([], forEver)).toEqual(new Map());
      });

      it('keeps cancelled ones for as long as each queue says', async () => {
        const [kept, gone] = [await add(), (await store.enqueue([newTask({ queue: dead })]))[0].id];
        const tasks = [
          { id: kept, queue, name: 'work' },
          { id: gone, queue: dead, name: 'work' },
        ];
        await bulk.cancel(tasks, (of) => (of === queue ? hourMs : null));
        expect(await found(kept)).toMatchObject({ state: 'cancelled' });
        expect(await store.find(gone)).toBeNull();
        await subject.passTime(queue, 2 * hourMs);
        expect(await store.find(kept)).toBeNull();
      });

      it('puts failed and cancelled ones back as a retry does, and leaves the rest alone', async () => {
        const ids = [await add(), await add(), await add(), await add()];
        const claimed = await claim(4);
        const of = (id: string) => claimed.find((one) => one.id === id)!;
        await settle(
          finish(of(ids[0]), { state: 'failed', attempt: failed }),
          finish(of(ids[1]), { state: 'cancelled' }),
          finish(of(ids[2])),
        );
        const { heard, stop } = await hear(store);
        const woken = heard({ kind: 'wake', queue });
        const back = await bulk.retry(ids.map((id) => ({ id, queue, name: 'work' })));
        expect(back.toSorted()).toEqual([ids[0], ids[1]].toSorted());
        await woken;
        await stop();
        expect(await found(ids[0])).toMatchObject({ state: 'ready', retries: 0, attempt: 1, attempts: [failed] });
        expect(await found(ids[2])).toMatchObject({ state: 'done' });
        expect(await found(ids[3])).toMatchObject({ state: 'running' });
        expect(idsOf(await claim()).toSorted()).toEqual([ids[0], ids[1]].toSorted());
      });

      it('leaves one whose unique key is taken as it is, and loses neither', async () => {
        const first = await deadLetter({ uniqueKey: 'k' });
        const second = await deadLetter({ uniqueKey: 'k' });
        const free = await deadLetter();
        const letters = await pick('finished', { queue: dead, dead: true });
        const back = await bulk.retry(letters);
        expect(back).toHaveLength(2);
        expect(back).toContain(free);
        const left = [first, second].filter((id) => !back.includes(id));
        expect(left).toHaveLength(1);
        expect(await found(left[0])).toMatchObject({ state: 'failed', queue: dead, deadFrom: queue });
        expect(await bulk.retry(letters)).toEqual([]);
      });

      it('deletes ready and finished ones, and leaves running ones to their workers', async () => {
        const ids = [await add(), await add()];
        const claimed = await claim(2);
        await settle(finish(claimed.find(({ id }) => id === ids[0])!));
        const ready = await add();
        const letter = await deadLetterBeside();
        const tasks = [...ids, ready].map((id) => ({ id, queue, name: 'work' }));
        tasks.push({ id: letter, queue: dead, name: 'work' });
        expect((await bulk.remove(tasks)).toSorted()).toEqual([ids[0], ready, letter].toSorted());
        expect(await store.find(ids[0])).toBeNull();
        expect(await store.find(letter)).toBeNull();
        expect(await found(ids[1])).toMatchObject({ state: 'running' });
      });
      /** Without a claim, which would take others. */
      const deadLetterBeside = async (): Promise<string> => {
        const id = await add({ name: 'beside' });
        const [claimed] = await store.claim({ workerId: worker.workerId, queue, names: ['beside'], limit: 1 });
        await settle(finish(claimed, { state: 'failed', attempt: failed, deadLetter: dead }));
        return id;
      };

      it('changes each task once when several ask at once', async () => {
        await Promise.all(Array.from({ length: 60 }, () => add()));
        const picked = await pick('live');
        const cancels = await Promise.all([1, 2, 3].map(() => bulk.cancel(picked.toReversed(), forEver)));
        expect(cancels.reduce((sum, { size }) => sum + size, 0)).toBe(60);
        const ended = await pick('finished');
        const retries = await Promise.all([1, 2, 3].map(() => bulk.retry(ended)));
        expect(retries.flat().toSorted()).toEqual(idsOf(picked).toSorted());
        const removals = await Promise.all([1, 2, 3].map(() => bulk.remove(picked)));
        expect(removals.flat().toSorted()).toEqual(idsOf(picked).toSorted());
        expect(await store.counts(queue)).toEqual({ ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 });
      });

      it('makes room in a lane, and brings what goes back to it', async () => {
        const ids: string[] = [];
        for (let n = 0; n < 3; n++) ids.push(await add({ lane: 'a' }));
        const first = { id: ids[0], queue, name: 'work' };
        await bulk.cancel([first], forEver);
        expect(idsOf(await claim())).toEqual([ids[1]]);
        await bulk.retry([first]);
        await bulk.remove([{ id: ids[2], queue, name: 'work' }]);
        expect(await claim()).toEqual([]);
        await bulk.cancel([{ id: ids[1], queue, name: 'work' }], forEver);
        await settle(release({ id: ids[1], queue, claimSeq: 1 }));
        await store.lanes.admit([{ queue, name: 'work', key: 'a' }]);
        expect(idsOf(await claim())).toEqual([ids[0]]);
        await settle(
          finish({ id: ids[0], queue, claimSeq: 1 }, { state: 'failed', attempt: failed, deadLetter: dead }),
        );
        expect(await bulk.retry([{ id: ids[0], queue: dead, name: 'work' }])).toEqual([ids[0]]);
        expect(await claimOne()).toMatchObject({ id: ids[0], lane: 'a', attempt: 2 });
      });

      it('loses no task that is claimed, cancelled and given back at the same time', async () => {
        await Promise.all(Array.from({ length: 100 }, () => add()));
        const picked = await pick('live');
        const [claimed, outcomes] = await Promise.all([claim(50), bulk.cancel(picked, forEver)]);
        expect(outcomes.size).toBe(100);
        await settle(...claimed.map((one) => release(one)));
        expect(await store.counts(queue)).toMatchObject({ ready: 0, running: 0, cancelled: 100 });
      });
    });
  });
}
