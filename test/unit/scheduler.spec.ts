import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Calendar, Schedule, ScheduleDefinition } from '../../lib/engine/schedule.js';
import {
  type DueSchedules,
  type ScheduleAsker,
  type PutOutcome,
  ScheduleStore,
} from '../../lib/engine/schedule-store.js';
import { Scheduler } from '../../lib/engine/scheduler.js';
import type { NewTask, Stored } from '../../lib/engine/task.js';
import { isSettled, newTask, Recorder, ticks } from './engine.fixtures.js';
import { scheduleOf } from './schedule.fixtures.js';

const minute = 60_000;
let every = minute;
const calendar: Calendar = {
  next: (_, after) => (Math.floor(after / every) + 1) * every,
  previous: (_, count, before) => Array.from({ length: count }, (__, i) => (Math.ceil(before / every) - 1 - i) * every),
};

/** Does what it was told to and takes down what it was asked. */
class FakeStore extends ScheduleStore {
  readonly calls: string[] = [];
  readonly rows = new Map<string, Schedule>();
  readonly tasks: NewTask[] = [];
  looks = 0;
  readonly asked: ScheduleAsker[] = [];
  away = false;
  outcome: PutOutcome = 'stored';
  moved = true;
  /** What becomes of a task, if it is not simply stored. */
  became: Stored | undefined;
  broken = '';
  limit = 0;

  private reach(call: string): void {
    this.calls.push(call);
    if (this.away) throw new Error(`${call}: away`);
  }

  async now(): Promise<number> {
    this.reach('now');
    return Date.now();
  }

  async put(schedule: ScheduleDefinition, nextAt: number | null): Promise<PutOutcome> {
    this.reach(`put ${schedule.name}`);
    if (this.outcome === 'stored') this.rows.set(schedule.name, scheduleOf({ ...schedule, nextAt }));
    return this.outcome;
  }

  async removeDeclared(names: readonly string[]): Promise<void> {
    this.reach(`remove ${names.join()}`);
  }

  async due(asker: ScheduleAsker, limit: number): Promise<DueSchedules> {
    this.looks++;
    this.asked.push(asker);
    this.limit = limit;
    this.reach('due');
    const now = Date.now();
    const all = [...this.rows.values()].filter((one): one is Schedule & { nextAt: number } => one.nextAt !== null);
    const later = all.filter(({ nextAt }) => nextAt > now).map(({ nextAt }) => nextAt);
    const due = all.filter(({ nextAt }) => nextAt <= now).slice(0, limit);
    const missing = this.outcome === 'stored' ? asker.declared.filter((name) => !this.rows.has(name)) : [];
    return { now, due, nextAt: later.length ? Math.min(...later) : null, missing };
  }

  async tick(schedule: Schedule, to: Pick<Schedule, 'nextAt' | 'lastAt'>, tasks: readonly NewTask[]) {
    this.reach(`tick ${schedule.name}`);
    if (schedule.name === this.broken) throw new Error('broken');
    this.rows.set(schedule.name, { ...schedule, ...to });
    if (this.moved) this.tasks.push(...tasks);
    return this.moved ? tasks.map(({ id }) => this.became ?? { id, duplicate: false }) : null;
  }

  remove = unused;
  list = unused;
  find = unused;
  pause = unused;
  resume = unused;
}

function unused(): never {
  throw new Error('The scheduler has no use for it.');
}

const start = Date.UTC(2026, 0, 1);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: start });
});
afterEach(() => {
  every = minute;
  vi.useRealTimers();
});

function setUp(declared: readonly Schedule[] = [], unscheduled: readonly string[] = []) {
  const store = new FakeStore();
  const reporter = new Recorder();
  const failures: string[] = [];
  const woken: string[] = [];
  const impossible = new Set<string>();
  const scheduler = new Scheduler(
    store,
    {
      calendar,
      declared: () => ({ schedules: declared, unscheduled }),
      taskOf: async (schedule, tick) =>
        impossible.has(schedule.name)
          ? null
          : newTask({ name: schedule.name, queue: schedule.queue, payload: String(tick) }),
    },
    reporter,
    (doing, error) => failures.push(`${doing}: ${(error as Error).message}`),
    (queue) => woken.push(queue),
  );
  const add = (name: string, nextAt: number | null, fields: Partial<Schedule> = {}) =>
    store.rows.set(name, scheduleOf({ name, nextAt, ...fields }));
  return { store, reporter, failures, woken, impossible, scheduler, add };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe('a scheduler that works', () => {
  it('enqueues a task for a tick that is due, moves the schedule on, and tells of it', async () => {
    const { store, scheduler, add, reporter, woken } = setUp();
    add('one', start, { queue: 'q' });
    void scheduler.start();
    await ticks();
    expect(store.tasks).toMatchObject([{ name: 'one', payload: String(start) }]);
    expect(store.rows.get('one')).toMatchObject({ nextAt: start + minute, lastAt: start });
    const [{ id }] = store.tasks;
    expect(reporter.of('enqueued')).toEqual([{ id, name: 'one', queue: 'q', duplicate: false }]);
    expect(woken).toEqual(['q']);
    await scheduler.stop();
  });

  it.each([{}, { replaced: true }])('tells which task stands in place of a unique one, %o', async (how) => {
    const { store, scheduler, add, reporter } = setUp();
    store.became = { id: 'holder', duplicate: true, ...how };
    add('one', start, { queue: 'q' });
    void scheduler.start();
    await ticks();
    expect(reporter.of('enqueued')).toEqual([{ id: 'holder', name: 'one', queue: 'q', duplicate: true, ...how }]);
    await scheduler.stop();
  });

  it('tells of nothing when another process was first', async () => {
    const { store, scheduler, add, reporter, woken, failures } = setUp();
    store.moved = false;
    add('one', start);
    void scheduler.start();
    await ticks();
    expect(store.calls).toContain('tick one');
    expect([reporter.events, woken, failures]).toEqual([[], [], []]);
    await scheduler.stop();
  });

  it('moves on from a tick whose task cannot be made, and wakes nobody for it', async () => {
    const { store, scheduler, add, impossible, woken, reporter } = setUp();
    impossible.add('one');
    add('one', start);
    void scheduler.start();
    await ticks();
    expect(store.rows.get('one')).toMatchObject({ nextAt: start + minute });
    expect([store.tasks, woken, reporter.events]).toEqual([[], [], []]);
    await scheduler.stop();
  });

  it('moves on from ticks that are left out, and keeps the latest that enqueued a task', async () => {
    const { store, scheduler, add } = setUp();
    every = 10 * minute;
    add('one', start - 20 * minute, { catchUp: 'none', lastAt: 5 });
    vi.setSystemTime(start + 2 * minute);
    void scheduler.start();
    await ticks();
    expect(store.tasks).toEqual([]);
    expect(store.rows.get('one')).toMatchObject({ nextAt: start + 10 * minute, lastAt: 5 });
    await scheduler.stop();
  });

  it('looks again at once after it enqueued, since more may be due than it was shown', async () => {
    const { store, scheduler, add } = setUp();
    for (let i = 0; i < 250; i++) add(`one-${i}`, start);
    void scheduler.start();
    await ticks(2_000);
    expect(store.limit).toBe(100);
    expect(store.tasks).toHaveLength(250);
    expect(store.looks).toBe(4);
    await scheduler.stop();
  });

  it('sleeps until the next tick', async () => {
    const { store, scheduler, add } = setUp();
    add('soon', start + minute);
    vi.setSystemTime(start + minute - 4_000);
    void scheduler.start();
    await ticks();
    expect(store.looks).toBe(1);
    await pass(3_999);
    expect(store.looks).toBe(1);
    await pass(20);
    expect(store.tasks).toHaveLength(1);
    await scheduler.stop();
  });

  it('sleeps no longer than ten seconds, with or without a next tick', async () => {
    const { store, scheduler, add } = setUp();
    void scheduler.start();
    await ticks();
    for (let looks = 1; looks < 6; looks++) {
      if (looks === 3) add('far', start + 60 * minute);
      expect(store.looks).toBe(looks);
      const before = Date.now();
      await vi.advanceTimersToNextTimerAsync();
      expect(Date.now() - before).toBeGreaterThanOrEqual(10_000);
      expect(Date.now() - before).toBeLessThan(10_010);
    }
    await scheduler.stop();
  });

  it('looks when it is woken', async () => {
    const { store, scheduler, add } = setUp();
    void scheduler.start();
    await ticks();
    add('new', start);
    scheduler.wake();
    await ticks();
    expect(store.tasks).toHaveLength(1);
    await scheduler.stop();
  });

  it('keeps a wake-up that comes while it looks', async () => {
    const { store, scheduler } = setUp();
    void scheduler.start();
    scheduler.wake();
    await ticks();
    expect(store.looks).toBe(2);
    await scheduler.stop();
  });
});

describe('a scheduler in trouble', () => {
  it('lets the others tick when one cannot, and tries that again a second later', async () => {
    const { store, scheduler, add, failures } = setUp();
    store.broken = 'broken';
    for (const name of ['before', 'broken', 'after']) add(name, start);
    void scheduler.start();
    await ticks();
    expect(store.tasks.map(({ name }) => name)).toEqual(['before', 'after']);
    expect(failures).toEqual(['run schedule "broken": broken']);
    await pass(990);
    expect(failures).toHaveLength(1);
    store.broken = '';
    await pass(30);
    expect(store.tasks.map(({ name }) => name)).toEqual(['before', 'after', 'broken']);
    await scheduler.stop();
  });

  it('looks each second while the store is away', async () => {
    const { store, scheduler, add, failures } = setUp();
    add('one', start);
    store.away = true;
    void scheduler.start();
    await pass(3_500);
    expect(failures).toEqual(Array.from({ length: 4 }, () => 'look for due schedules: due: away'));
    store.away = false;
    await pass(1_100);
    expect(store.tasks).toHaveLength(1);
    await scheduler.stop();
  });
});

describe('the declared schedules', () => {
  const declared = [scheduleOf({ name: 'a', declared: true }), scheduleOf({ name: 'b', declared: true })];

  it('are stored before the first look, those that are no more removed, and its own asked for', async () => {
    const { store, scheduler } = setUp(declared, ['x', 'y']);
    void scheduler.start();
    await ticks();
    expect(store.calls).toEqual(['remove x,y', 'now', 'put a', 'put b', 'due']);
    expect(store.rows.get('b')).toMatchObject({ nextAt: start + minute });
    expect(store.asked).toEqual([{ declared: ['a', 'b'], tasks: ['a', 'b', 'x', 'y'] }]);
    await scheduler.stop();
  });

  it('cost nothing where there are none', async () => {
    const { store, scheduler } = setUp();
    void scheduler.start();
    await ticks();
    expect(store.calls).toEqual(['due']);
    await scheduler.stop();
  });

  it('are stored when the store is back', async () => {
    const { store, scheduler, failures } = setUp(declared);
    store.away = true;
    void scheduler.start();
    await pass(2_500);
    expect(failures).toEqual(Array.from({ length: 3 }, () => 'store the declared schedules: now: away'));
    expect(store.looks).toBe(0);
    store.away = false;
    await pass(1_000);
    expect([...store.rows.keys()]).toEqual(['a', 'b']);
    expect(store.looks).toBe(1);
    await scheduler.stop();
  });

  it('are stored again when it starts again', async () => {
    const { store, scheduler } = setUp(declared);
    void scheduler.start();
    void scheduler.start();
    await ticks();
    expect(store.calls.filter((call) => call === 'put a')).toHaveLength(1);
    await scheduler.stop();
    void scheduler.start();
    await ticks();
    expect(store.calls.filter((call) => call === 'put a')).toHaveLength(2);
    await scheduler.stop();
  });

  it('are put back by a look that finds them missing, those alone, and tick on', async () => {
    const { store, scheduler, reporter } = setUp(declared);
    void scheduler.start();
    await ticks();
    expect(reporter.logs).toEqual([]);
    store.calls.length = 0;
    store.rows.delete('b');
    scheduler.wake();
    await ticks();
    expect(store.calls).toEqual(['due', 'put b', 'due']);
    expect(reporter.logs).toEqual([expect.stringMatching(/^warn: Schedule "b" .*put back/)]);
    await pass(minute + 100);
    expect(store.tasks.map(({ name }) => name)).toEqual(['a', 'b']);
    await scheduler.stop();
  });

  it('are put back ten seconds later at most, by a process that nobody told', async () => {
    const { store, scheduler } = setUp(declared);
    void scheduler.start();
    await ticks();
    store.rows.clear();
    await pass(10_010);
    expect([...store.rows.keys()]).toEqual(['a', 'b']);
    await scheduler.stop();
  });

  it('let the others tick while they cannot be put back, which is tried each second', async () => {
    const { store, scheduler, failures, add } = setUp(declared);
    void scheduler.start();
    await ticks();
    const put = store.put.bind(store);
    store.put = async () => {
      throw new Error('away');
    };
    store.rows.delete('a');
    add('made', start);
    scheduler.wake();
    await pass(1_500);
    expect(failures).toEqual(Array.from({ length: 2 }, () => 'put schedule "a" back: away'));
    expect(store.tasks.map(({ name }) => name)).toEqual(['made']);
    store.put = put;
    await pass(1_000);
    expect(store.rows.has('a')).toBe(true);
    await scheduler.stop();
  });

  it('of a name that was made at run time are an error in the log, and do not keep the others', async () => {
    const { store, scheduler, reporter } = setUp(declared);
    store.outcome = 'taken';
    void scheduler.start();
    await ticks();
    expect(store.calls).toEqual(['now', 'put a', 'put b', 'due']);
    expect(reporter.logs).toHaveLength(2);
    expect(reporter.logs[0]).toMatch(/^error: .*"a".*TaskQueue\.unschedule/);
    await scheduler.stop();
  });
});

describe('stop', () => {
  it('ends the sleep and leaves no timer', async () => {
    const { store, scheduler } = setUp();
    void scheduler.start();
    await ticks();
    await scheduler.stop();
    expect(vi.getTimerCount()).toBe(0);
    await pass(60_000);
    expect(store.looks).toBe(1);
  });

  it('ends the wait for a store that is away', async () => {
    const { store, scheduler } = setUp([scheduleOf()]);
    store.away = true;
    void scheduler.start();
    await ticks();
    await scheduler.stop();
    expect(vi.getTimerCount()).toBe(0);
    expect(store.looks).toBe(0);
  });

  it('waits for the tick under way and starts no other', async () => {
    const { store, scheduler, add } = setUp();
    for (const name of ['one', 'two', 'three']) add(name, start);
    let stopped: Promise<void> | undefined;
    const tick = store.tick.bind(store);
    store.tick = async (...args) => {
      stopped = scheduler.stop();
      await new Promise((resolve) => {
        setTimeout(resolve, 500);
      });
      return tick(...args);
    };
    void scheduler.start();
    await ticks();
    expect(store.tasks).toEqual([]);
    expect(await isSettled(stopped!)).toBe(false);
    await pass(500);
    await stopped;
    expect(store.tasks.map(({ name }) => name)).toEqual(['one']);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('does nothing before a start', async () => {
    await setUp().scheduler.stop();
  });
});
