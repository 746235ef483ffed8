import type { NewTask, Schedule, ScheduleDefinition, ScheduleStore, TaskStore } from 'nestjs-backie';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { hear, hourMs, newTask } from './task-store.fixtures.js';

type Due = Schedule & { readonly nextAt: number };

function definition(name: string, fields: Partial<ScheduleDefinition> = {}): ScheduleDefinition {
  return {
    name,
    task: 'work',
    queue: 'schedules',
    cron: '0 * * * *',
    timeZone: 'UTC',
    catchUp: 'last',
    payload: '{"a":1}',
    priority: 0,
    maxRetries: null,
    timeoutMs: null,
    declared: false,
    ...fields,
  };
}

/** A process that declares these, and has the task of `definition` among its own. */
const asker = (declared: readonly string[]) => ({ declared, tasks: ['work'] });

/** What every store must hold of schedules. */
export function describeScheduleStore(
  name: string,
  create: () => Promise<{ readonly store: TaskStore; dispose(): Promise<void> }>,
): void {
  describe(name, () => {
    let subject: Awaited<ReturnType<typeof create>>;
    let store: TaskStore;
    let schedules: ScheduleStore;

    beforeAll(async () => {
      subject = await create();
      store = subject.store;
      schedules = store.schedules;
    });
    afterAll(() => subject?.dispose());
    afterEach(async () => {
      const all = await schedules.list();
      await schedules.removeDeclared(all.map((one) => one.name));
      for (const one of all) await schedules.remove(one.name);
    });

    /** Whole milliseconds, by the store's clock. */
    const now = async (): Promise<number> => Math.floor(await schedules.now());
    const ago = async (ms: number): Promise<number> => (await now()) - ms;
    /** Stores a schedule that is due, and returns it as a look finds it. */
    const dueOne = async (fields: Partial<ScheduleDefinition> = {}): Promise<Due> => {
      const one = definition('due', fields);
      await schedules.put(one, await ago(1_000));
      const { due } = await schedules.due(asker([one.name]), 10);
      return due.find((found) => found.name === one.name)!;
    };
    const task = (): NewTask => newTask({ queue: 'schedules' });
    const stored = async (tasks: readonly NewTask[]): Promise<number> => {
      const found = await Promise.all(tasks.map(({ id }) => store.find(id)));
      return found.filter((one) => one !== null).length;
    };

    describe('put', () => {
      it('stores a new one with all that is said of it', async () => {
        const one = definition('new', {
          cron: '*/5 8-17 * * MON-FRI',
          timeZone: 'Europe/Berlin',
          catchUp: 'all',
          payload: '{"deep":{"ü":[1,"\\n",null]}}',
          priority: -32_768,
          maxRetries: 7,
          timeoutMs: 1_234,
        });
        const nextAt = (await now()) + 1_234_567;
        expect(await schedules.put(one, nextAt)).toBe('stored');
        const found = (await schedules.find('new'))!;
        expect({ ...found, payload: JSON.parse(found.payload) as unknown }).toEqual({
          ...one,
          payload: { deep: { ü: [1, '\n', null] } },
          revision: 1,
          paused: false,
          nextAt,
          lastAt: null,
        });
        expect(await schedules.find('another')).toBeNull();
      });

      it('stores one that never ticks', async () => {
        await schedules.put(definition('never'), null);
        expect(await schedules.find('never')).toMatchObject({ nextAt: null });
        expect(await schedules.due(asker([]), 10)).toMatchObject({ due: [], nextAt: null });
      });

      it('leaves one as it is that is put again', async () => {
        await schedules.put(definition('same'), 1_000);
        expect(await schedules.put(definition('same'), 2_000)).toBe('unchanged');
        expect(await schedules.find('same')).toMatchObject({ revision: 1, nextAt: 1_000 });
      });

      const changes: readonly Partial<ScheduleDefinition>[] = [
        { task: 'other' },
        { queue: 'other' },
        { catchUp: 'none' },
        { payload: '{"a":2}' },
        { priority: 1 },
        { maxRetries: 0 },
        { timeoutMs: 5 },
      ];
      it.each(changes)('changes %o, and keeps its next tick', async (change) => {
        await schedules.put(definition('changed'), 1_000);
        expect(await schedules.put(definition('changed', change), 2_000)).toBe('stored');
        const found = (await schedules.find('changed'))!;
        expect({ ...found, payload: found.payload.replaceAll(' ', '') }).toMatchObject({
          ...definition('changed', change),
          revision: 2,
          nextAt: 1_000,
        });
        expect(await schedules.put(definition('changed'), 2_000)).toBe('stored');
        expect(await schedules.find('changed')).toMatchObject({ revision: 3, maxRetries: null, timeoutMs: null });
      });

      it.each([{ cron: '5 * * * *' }, { timeZone: 'Asia/Tokyo' }])(
        'takes another next tick with other times: %o',
        async (change) => {
          await schedules.put(definition('moved'), 1_000);
          expect(await schedules.put(definition('moved', change), 2_000)).toBe('stored');
          expect(await schedules.find('moved')).toMatchObject({ ...change, revision: 2, nextAt: 2_000 });
        },
      );

      it('keeps its pause and its latest tick through a change', async () => {
        const one = await dueOne();
        await schedules.tick(one, { nextAt: 5_000, lastAt: one.nextAt }, []);
        await schedules.pause('due');
        await schedules.put(definition('due', { priority: 3 }), 7_000);
        expect(await schedules.find('due')).toMatchObject({ paused: true, lastAt: one.nextAt, nextAt: 5_000 });
      });

      it.each([true, false])('refuses a name of the other kind, declared: %s', async (declared) => {
        await schedules.put(definition('taken', { declared }), 1_000);
        expect(await schedules.put(definition('taken', { declared: !declared, priority: 9 }), 2_000)).toBe('taken');
        expect(await schedules.put(definition('taken', { declared: !declared }), 2_000)).toBe('taken');
        expect(await schedules.find('taken')).toMatchObject({ declared, priority: 0, revision: 1, nextAt: 1_000 });
      });

      it('stores one once when many put it at once', async () => {
        const outcomes = await Promise.all(Array.from({ length: 20 }, () => schedules.put(definition('raced'), 1_000)));
        expect(outcomes.filter((outcome) => outcome === 'stored')).toHaveLength(1);
        expect(outcomes.filter((outcome) => outcome === 'unchanged')).toHaveLength(19);
        expect(await schedules.find('raced')).toMatchObject({ revision: 1 });
      });

      it('tells those that listen of what is new or changed', async () => {
        const { heard, stop } = await hear(store);
        for (const priority of [0, 1]) {
          const told = heard({ kind: 'schedule' });
          await schedules.put(definition('told', { priority }), 1_000);
          await told;
        }
        await stop();
      });
    });

    it('lists all in the order of their names', async () => {
      for (const each of ['b', 'c', 'a']) await schedules.put(definition(each, { declared: each === 'c' }), null);
      expect((await schedules.list()).map((one) => one.name)).toEqual(['a', 'b', 'c']);
    });

    describe('remove', () => {
      it('takes one away that was made at run time, once', async () => {
        await schedules.put(definition('gone'), null);
        expect(await schedules.remove('gone')).toBe(true);
        expect(await schedules.remove('gone')).toBe(false);
        expect(await schedules.find('gone')).toBeNull();
      });

      it('takes one that is declared too: whether somebody still declares it is not for the store to know', async () => {
        await schedules.put(definition('stale', { declared: true }), null);
        expect(await schedules.remove('stale')).toBe(true);
        expect(await schedules.find('stale')).toBeNull();
      });

      it('removes declared ones of these names and nothing else', async () => {
        await schedules.put(definition('dropped', { declared: true }), null);
        await schedules.put(definition('declared', { declared: true }), null);
        await schedules.put(definition('made'), null);
        await schedules.removeDeclared(['dropped', 'made', 'unknown']);
        expect((await schedules.list()).map((one) => one.name)).toEqual(['declared', 'made']);
        await schedules.removeDeclared([]);
        expect(await schedules.list()).toHaveLength(2);
      });
    });

    describe('one that was declared and removed', () => {
      const put = (fields: Partial<ScheduleDefinition> = {}, nextAt: number | null = 9_000) =>
        schedules.put(definition('back', { declared: true, ...fields }), nextAt);

      it('is gone for everybody', async () => {
        const one = await dueOne({ declared: true });
        await schedules.removeDeclared(['due']);
        expect(await schedules.list()).toEqual([]);
        expect(await schedules.find('due')).toBeNull();
        expect(await schedules.pause('due')).toBe(false);
        expect(await schedules.resume('due', 1_000)).toBe(false);
        expect(await schedules.due(asker(['due']), 10)).toMatchObject({ due: [], nextAt: null });
        const late = task();
        expect(await schedules.tick(one, { nextAt: null, lastAt: one.nextAt }, [late])).toBeNull();
        expect(await stored([late])).toBe(0);
        expect(await schedules.remove('due')).toBe(false);
      });

      it('comes back with its pause, its latest and its next tick when it is declared again at once', async () => {
        const one = await dueOne({ declared: true });
        const to = { nextAt: one.nextAt + hourMs, lastAt: one.nextAt };
        await schedules.tick(one, to, []);
        await schedules.pause('due');
        await schedules.removeDeclared(['due']);
        expect(await schedules.put(definition('due', { declared: true }), 9_000)).toBe('stored');
        expect(await schedules.find('due')).toMatchObject({ ...to, paused: true, declared: true });
        expect(await schedules.put(definition('due', { declared: true }), 9_000)).toBe('unchanged');
      });

      it('comes back with what is said of it then', async () => {
        await put({}, 1_000);
        await schedules.removeDeclared(['back']);
        await put({ priority: 3 });
        expect(await schedules.find('back')).toMatchObject({ priority: 3, paused: false, nextAt: 1_000 });
        await schedules.removeDeclared(['back']);
        await put({ cron: '5 * * * *' });
        expect(await schedules.find('back')).toMatchObject({ cron: '5 * * * *', priority: 0, nextAt: 9_000 });
      });

      it('leaves its name to one that is made at run time, and nothing else', async () => {
        const one = await dueOne({ declared: true });
        await schedules.tick(one, { nextAt: one.nextAt + hourMs, lastAt: one.nextAt }, []);
        await schedules.pause('due');
        await schedules.removeDeclared(['due']);
        expect(await schedules.put(definition('due'), 9_000)).toBe('stored');
        expect(await schedules.find('due')).toMatchObject({
          declared: false,
          paused: false,
          nextAt: 9_000,
          lastAt: null,
        });
        await schedules.remove('due');
        await schedules.put(definition('due', { declared: true }), 9_000);
        expect(await schedules.find('due')).toMatchObject({ declared: true, paused: false, lastAt: null });
      });

      it('is told to those that listen, for somebody may still declare it', async () => {
        await put();
        const { heard, stop } = await hear(store);
        const told = heard({ kind: 'schedule' });
        await schedules.removeDeclared(['back']);
        await told;
        await stop();
      });

      it('is removed once when many do so at once', async () => {
        const names = Array.from({ length: 20 }, (_, i) => `back-${i}`);
        for (const each of names) await schedules.put(definition(each, { declared: true }), null);
        await Promise.all(
          Array.from({ length: 20 }, (_, i) => schedules.removeDeclared(i % 2 ? names : names.toReversed())),
        );
        expect(await schedules.list()).toEqual([]);
      });
    });

    describe('pause and resume', () => {
      it('say whether there is one', async () => {
        expect(await schedules.pause('unknown')).toBe(false);
        expect(await schedules.resume('unknown', 1_000)).toBe(false);
        await schedules.put(definition('known'), null);
        expect(await schedules.pause('known')).toBe(true);
        expect(await schedules.pause('known')).toBe(true);
        expect(await schedules.resume('known', null)).toBe(true);
      });

      it('let it tick no more, and then from the given tick on', async () => {
        const { nextAt } = await dueOne();
        await schedules.pause('due');
        expect(await schedules.find('due')).toMatchObject({ paused: true, nextAt });
        expect(await schedules.due(asker([]), 10)).toMatchObject({ due: [], nextAt: null });
        const later = (await now()) + hourMs;
        await schedules.resume('due', later);
        expect(await schedules.find('due')).toMatchObject({ paused: false, nextAt: later });
        expect(await schedules.due(asker([]), 10)).toMatchObject({ due: [], nextAt: later });
      });

      it('leave the next tick of one that is not paused', async () => {
        await schedules.put(definition('running'), 1_000);
        await schedules.resume('running', 2_000);
        expect(await schedules.find('running')).toMatchObject({ paused: false, nextAt: 1_000 });
      });

      it('tell those that listen of the end of a pause', async () => {
        await schedules.put(definition('told'), 1_000);
        await schedules.pause('told');
        const { heard, stop } = await hear(store);
        const told = heard({ kind: 'schedule' });
        await schedules.resume('told', 1_000);
        await told;
        await stop();
      });
    });

    describe('due', () => {
      it("finds those that were made at run time, and of the declared ones the asker's", async () => {
        const at = await ago(1_000);
        for (const each of ['mine', 'theirs']) await schedules.put(definition(each, { declared: true }), at);
        await schedules.put(definition('made'), at);
        const names = async (declared: string[]) =>
          (await schedules.due(asker(declared), 10)).due.map((one) => one.name);
        expect(await names(['mine', 'made'])).toEqual(['made', 'mine']);
        expect(await names([])).toEqual(['made']);
        expect(await names(['theirs', 'mine'])).toEqual(['made', 'mine', 'theirs']);
      });

      it('leaves those that were made at run time to whoever has their task', async () => {
        const at = await ago(1_000);
        await schedules.put(definition('ours'), at);
        await schedules.put(definition('unknown', { task: 'other' }), at);
        await schedules.put(definition('declared', { task: 'other', declared: true }), at);
        await schedules.put(definition('later', { task: 'other' }), at + hourMs);
        const { due, nextAt } = await schedules.due({ declared: ['declared'], tasks: ['work'] }, 10);
        expect(due.map((one) => one.name)).toEqual(['declared', 'ours']);
        expect(nextAt).toBeNull();
        expect(await schedules.due({ declared: [], tasks: [] }, 10)).toMatchObject({ due: [], nextAt: null });
      });

      it('gives the oldest tick first, then by name, and no more than the limit', async () => {
        const at = await ago(10_000);
        await schedules.put(definition('young'), at + 5_000);
        await schedules.put(definition('b'), at + 1_000);
        await schedules.put(definition('a'), at + 1_000);
        await schedules.put(definition('z-oldest'), at);
        const { due } = await schedules.due(asker([]), 3);
        expect(due.map((one) => one.name)).toEqual(['z-oldest', 'a', 'b']);
        expect(due[0]).toEqual(await schedules.find('z-oldest'));
      });

      it('says when the next of the others ticks, as far as they are the asker’s and not paused', async () => {
        const at = (await now()) + hourMs;
        await schedules.put(definition('a-due'), at - 2 * hourMs);
        await schedules.put(definition('paused'), at + 1);
        await schedules.pause('paused');
        await schedules.put(definition('theirs', { declared: true }), at + 2);
        await schedules.put(definition('mine', { declared: true }), at + 3);
        await schedules.put(definition('made'), at + 4);
        await schedules.put(definition('never'), null);
        const look = await schedules.due(asker(['mine']), 10);
        expect(look.due.map((one) => one.name)).toEqual(['a-due']);
        expect(look.nextAt).toBe(at + 3);
        expect(await schedules.due(asker([]), 10)).toMatchObject({ nextAt: at + 4 });
      });

      it('says which of those that the asker declares are not there', async () => {
        const missing = async (...declared: string[]) => (await schedules.due(asker(declared), 10)).missing;
        await schedules.put(definition('there', { declared: true }), await ago(1_000));
        await schedules.put(definition('far', { declared: true }), (await now()) + hourMs);
        await schedules.put(definition('made'), null);
        await schedules.put(definition('removed', { declared: true }), null);
        await schedules.pause('far');
        await schedules.removeDeclared(['removed']);
        expect(await missing('there', 'far', 'made')).toEqual([]);
        expect((await missing('removed', 'there', 'ne"w ü')).toSorted()).toEqual(['ne"w ü', 'removed']);
        expect(await missing()).toEqual([]);
      });

      it('tells the time with nothing to find', async () => {
        const before = await schedules.now();
        const look = await schedules.due(asker([]), 10);
        expect(look).toMatchObject({ due: [], nextAt: null });
        expect(look.now).toBeGreaterThanOrEqual(before);
        expect(look.now).toBeLessThanOrEqual(await schedules.now());
      });
    });

    describe('tick', () => {
      it('moves the schedule on and stores its tasks', async () => {
        const one = await dueOne();
        const tasks = [task(), task()];
        const to = { nextAt: one.nextAt + hourMs, lastAt: one.nextAt };
        expect(await schedules.tick(one, to, tasks)).toEqual(tasks.map(({ id }) => ({ id, duplicate: false })));
        expect(await stored(tasks)).toBe(2);
        expect(await schedules.find('due')).toEqual({ ...one, ...to });
      });

      it('tells which task holds the unique key of one that was not stored', async () => {
        const terms = { scope: 'live', windowMs: null, replace: false, movesDue: false } as const;
        const unique = (replace: boolean) =>
          newTask({ queue: 'schedules', uniqueKey: 'tick', unique: { ...terms, replace }, payload: `${replace}` });
        const [first, second, third] = [unique(false), unique(false), unique(true)];
        const tick = async (...tasks: NewTask[]) => {
          const one = await dueOne();
          const stored = await schedules.tick(one, { nextAt: null, lastAt: null }, tasks);
          await schedules.remove('due');
          return stored;
        };
        expect(await tick(first)).toEqual([{ id: first.id, duplicate: false }]);
        expect(await tick(second, task())).toMatchObject([{ id: first.id, duplicate: true }, { duplicate: false }]);
        expect(await tick(third)).toEqual([{ id: first.id, duplicate: true, replaced: true }]);
        expect(await stored([first, second, third])).toBe(1);
      });

      it('moves it to its end', async () => {
        const one = await dueOne();
        expect(await schedules.tick(one, { nextAt: null, lastAt: null }, [])).toEqual([]);
        expect(await schedules.find('due')).toMatchObject({ nextAt: null, lastAt: null });
      });

      it('wakes the workers of the queue', async () => {
        const one = await dueOne();
        const { heard, stop } = await hear(store);
        const woken = heard({ kind: 'wake', queue: 'schedules' });
        await schedules.tick(one, { nextAt: null, lastAt: null }, [task()]);
        await woken;
        await stop();
      });

      const meanwhile: Record<string, (one: Due) => Promise<unknown>> = {
        moved: (one) => schedules.tick(one, { nextAt: one.nextAt + 1, lastAt: null }, []),
        ended: (one) => schedules.tick(one, { nextAt: null, lastAt: null }, []),
        changed: () => schedules.put(definition('due', { priority: 5 }), null),
        paused: () => schedules.pause('due'),
        removed: () => schedules.remove('due'),
      };
      it.each(Object.entries(meanwhile))('stores nothing when it was %s meanwhile', async (_what, happens) => {
        const one = await dueOne();
        await happens(one);
        const before = await schedules.find('due');
        const late = task();
        expect(await schedules.tick(one, { nextAt: one.nextAt + hourMs, lastAt: one.nextAt }, [late])).toBeNull();
        expect(await stored([late])).toBe(0);
        expect(await schedules.find('due')).toEqual(before);
      });

      it('stays where it is when its tasks cannot be stored', async () => {
        const one = await dueOne();
        const tasks = [task(), newTask({ queue: 'schedules', due: { at: new Date(NaN) } })];
        await expect(schedules.tick(one, { nextAt: one.nextAt + hourMs, lastAt: one.nextAt }, tasks)).rejects.toThrow();
        expect(await stored(tasks)).toBe(0);
        expect(await schedules.find('due')).toEqual(one);
      });

      it('comes to exactly one task when 20 are quick to the same tick', async () => {
        for (let round = 0; round < 10; round++) {
          const one = await dueOne();
          const tasks = Array.from({ length: 20 }, task);
          const to = { nextAt: one.nextAt + hourMs, lastAt: one.nextAt };
          const won = await Promise.all(tasks.map((each) => schedules.tick(one, to, [each])));
          expect(won.filter((one) => one !== null)).toHaveLength(1);
          expect(await stored(tasks)).toBe(1);
          expect(await store.find(tasks[won.findIndex((one) => one !== null)].id)).not.toBeNull();
          await schedules.remove('due');
        }
      });
    });
  });
}
