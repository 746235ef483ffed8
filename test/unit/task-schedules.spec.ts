import { describe, expect, it } from 'vitest';
import { CronCalendar } from '../../lib/cron-calendar.js';
import type { BackgroundTaskOptions } from '../../lib/interfaces/background-task-options.interface.js';
import { MemoryTaskStore } from '../../lib/memory/memory-task-store.js';
import { resolveOptions } from '../../lib/options/resolve-options.js';
import type { TaskRegistry } from '../../lib/task.registry.js';
import { TaskSchedules } from '../../lib/task-schedules.js';
import { Recorder } from './engine.fixtures.js';
import { scheduleOf } from './schedule.fixtures.js';

const minute = 60_000;
const hour = 60 * minute;
const expiresInMs = 5 * minute;

/** The schedules of a process whose clock is behind that of the store, and which has the task `work`. */
async function setUp(declared: BackgroundTaskOptions = {}, behindMs = 0) {
  const store = new MemoryTaskStore({ now: () => Date.now() + behindMs });
  await store.open();
  const registry = { declarationOf: (name: string) => (name === 'work' ? declared : undefined) } as TaskRegistry;
  const reporter = new Recorder();
  const schedules = new TaskSchedules(
    store,
    registry,
    new CronCalendar(),
    resolveOptions({ store }, 'default'),
    reporter,
  );
  const target = { name: 'work', options: declared, priority: 0 };
  return { store, schedules, reporter, target };
}

describe('the schedule of a task that expires', () => {
  it('is made however far away its next tick is', async () => {
    const { store, schedules, target } = await setUp({ expiresInMs });
    expect(await schedules.schedule('rare', target, { cron: '0 0 29 2 *' })).toBe('stored');
    expect(await store.schedules.find('rare')).toMatchObject({ cron: '0 0 29 2 *', paused: false });
  });

  it.each([-hour, 0, hour])('has a task for each tick of a process that is %d ms behind', async (behindMs) => {
    const { store, schedules, reporter } = await setUp({ expiresInMs }, behindMs);
    const now = await store.schedules.now();
    const tick = now - (now % 1_000);
    const task = await schedules.taskOf(scheduleOf({ declared: true }), tick);
    expect(task).toMatchObject({ expiresInMs, due: { at: new Date(tick) } });
    expect(reporter.logs).toEqual([]);
  });

  it.each([-hour, 0, hour])('runs out of turn in a process that is %d ms behind', async (behindMs) => {
    const { store, schedules } = await setUp({ expiresInMs }, behindMs);
    await store.schedules.put(scheduleOf({ name: 'nightly' }), null);
    expect(await schedules.extra('nightly')).toMatchObject({ name: 'work', expiresInMs });
  });

  it('counts the time until it expires from when its task is enqueued, by the clock of the store', async () => {
    const { store, schedules } = await setUp({ expiresInMs }, hour);
    const tick = (await store.schedules.now()) - 10 * minute;
    const task = (await schedules.taskOf(scheduleOf({ catchUp: 'last' }), tick))!;
    const before = await store.schedules.now();
    await store.enqueue([task]);
    const stored = (await store.find(task.id))!;
    expect(stored.scheduledAt.getTime()).toBe(tick);
    expect(stored.expiresAt!.getTime()).toBeGreaterThanOrEqual(before + expiresInMs);
    expect(stored.expiresAt!.getTime()).toBeLessThanOrEqual((await store.schedules.now()) + expiresInMs);
  });
});

describe('the task of a tick', () => {
  const unique = { key: () => 'k', within: 1_000, onConflict: 'replace' as const };

  it('moves the due time of one that it replaces', async () => {
    const { schedules } = await setUp({ unique });
    expect(await schedules.taskOf(scheduleOf(), Date.now())).toMatchObject({
      unique: { replace: true, movesDue: true },
    });
  });

  it('is not one of a task that says itself when it is due', async () => {
    const { schedules, target, store } = await setUp({ unique: { ...unique, onConflict: 'debounce' } });
    await expect(schedules.schedule('quiet', target, { cron: '@daily' })).rejects.toThrow('make no schedule of it');
    expect(await store.schedules.list()).toEqual([]);
  });
});

describe('a declared schedule in memory that comes back', () => {
  it.each([
    { afterMs: minute - 1, nextAt: 1_000 },
    { afterMs: minute, nextAt: 9_000 },
  ])('$afterMs ms after its end has its next tick at $nextAt', async ({ afterMs, nextAt }) => {
    let now = 0;
    const { schedules } = new MemoryTaskStore({ now: () => now });
    await schedules.put(scheduleOf({ declared: true }), 1_000);
    await schedules.removeDeclared(['nightly']);
    now = afterMs;
    await schedules.put(scheduleOf({ declared: true }), 9_000);
    expect(await schedules.find('nightly')).toMatchObject({ nextAt });
  });
});
