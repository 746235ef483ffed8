import { Cron } from 'croner';
import { v7 as uuid } from 'uuid';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { CronCalendar } from '../../lib/cron-calendar.js';
import type { Calendar, CatchUp, Schedule } from '../../lib/engine/schedule.js';
import { Scheduler } from '../../lib/engine/scheduler.js';
import type { ScheduleStore } from '../../lib/engine/schedule-store.js';
import { MemoryTaskStore } from '../../lib/memory/memory-task-store.js';
import { newTask, Recorder, ticks } from './engine.fixtures.js';
import { scheduleOf } from './schedule.fixtures.js';

/**
 * The year 2026 of 200 schedules and 20 processes, which look, crash and come back as a generator of random numbers with
 * a fixed seed says, on one store whose time is the test's. Once nobody runs for three hours.
 */
const start = Date.UTC(2026, 0, 1);
const end = Date.UTC(2027, 0, 1);
const outage = { from: Date.UTC(2026, 2, 8, 5, 30, 30), to: Date.UTC(2026, 2, 8, 8, 30, 30) };
const minute = 60_000;

const times: readonly (readonly [cron: string, timeZone: string])[] = [
  ['0 * * * *', 'America/New_York'],
  ['*/30 * * * *', 'Australia/Lord_Howe'],
  ['30 2 * * *', 'America/New_York'],
  ['30 1 * * *', 'America/New_York'],
  ['0 0 2 * * *', 'America/New_York'],
  ['15 2 * * *', 'Australia/Lord_Howe'],
  ['45 1 * * *', 'Australia/Lord_Howe'],
  ['30 2 * * *', 'Europe/Berlin'],
  ['17 */6 * * *', 'Europe/Berlin'],
  ['0 0 * * *', 'America/Havana'],
  ['30 0 * * FRI', 'Africa/Cairo'],
  ['0 9 * * MON-FRI', 'Asia/Kolkata'],
  ['5 4 L * *', 'Europe/London'],
  ['0 12 1,15 * *', 'Asia/Tokyo'],
  ['0 7 * * MON#1', 'America/Sao_Paulo'],
  ['59 23 31 12 *', 'Pacific/Kiritimati'],
  ['10 20 8 * * *', 'Pacific/Auckland'],
  ['@weekly', 'America/Los_Angeles'],
  ['@daily', 'UTC'],
  ['40 7 8 3 *', 'UTC'],
];
const catchUps: readonly CatchUp[] = ['all', 'last', 'none'];

const specs = Array.from({ length: 200 }, (_, i) => {
  // Three each of the frequent ones, ten or eleven of each of the others.
  const [cron, timeZone] = times[i < 6 ? i % 2 : 2 + (i % 18)];
  return scheduleOf({
    name: `s-${String(i).padStart(3, '0')}`,
    cron,
    timeZone,
    catchUp: catchUps[Math.floor(i / (i < 6 ? 2 : 18)) % catchUps.length],
    declared: i % 4 === 0,
  });
});

/** Mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Many schedules tick at the same times, and many processes ask: between two ticks the next one is the same. */
class Remembering implements Calendar {
  /** By pattern: what comes next after `from`, and after each of these. */
  private readonly following = new Map<string, { readonly from: number; readonly ticks: (number | null)[] }>();
  private readonly known = new Map<string, readonly number[]>();

  constructor(private readonly calendar: Calendar) {}

  next(schedule: Schedule, after: number): number | null {
    const key = `${schedule.cron} ${schedule.timeZone}`;
    let known = this.following.get(key);
    if (!known || after < known.from) {
      this.following.set(key, (known = { from: after, ticks: [this.calendar.next(schedule, after)] }));
    }
    const { ticks } = known;
    for (let last = ticks.at(-1); last != null && last <= after; last = ticks.at(-1)) {
      ticks.push(this.calendar.next(schedule, last));
    }
    // Nearly always one of the latest.
    let place = ticks.length - 1;
    while (place > 0 && (ticks[place - 1] ?? Infinity) > after) place--;
    return ticks[place] ?? null;
  }

  previous(schedule: Schedule, count: number, before: number): readonly number[] {
    const key = `${schedule.cron} ${schedule.timeZone} ${before} ${count}`;
    let answer = this.known.get(key);
    if (answer === undefined) {
      if (this.known.size > 10_000) this.known.clear();
      this.known.set(key, (answer = this.calendar.previous(schedule, count, before)));
    }
    return answer;
  }
}

class Crash extends Error {}

beforeEach(() => {
  // The schedulers look when the test says so; their own timers never ring.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});
afterEach(() => {
  vi.useRealTimers();
});

it('has exactly one task for each tick of a year, whatever processes crash', { timeout: 180_000 }, async () => {
  const random = randomOf(20_260_308);
  const pick = (count: number) => Math.floor(random() * count);
  const clock = { now: start };
  const store = new MemoryTaskStore({ now: () => clock.now });
  await store.open();
  const tasks = new Map<string, number[]>(specs.map(({ name }) => [name, []]));
  const calendar = new Remembering(new CronCalendar());
  const events = { crashes: 0, repliesLost: 0, outraced: 0 };
  const unexpected: unknown[] = [];

  class Process {
    private scheduler: Scheduler | undefined;
    /** In how many calls of tick it dies; and whether before it or after it. */
    private crashIn = Infinity;

    constructor(private readonly index: number) {}

    get runs(): boolean {
      return this.scheduler !== undefined;
    }

    async start(): Promise<void> {
      // Each declared one is declared by four of the processes.
      const schedules = specs.filter((one, i) => one.declared && i % 5 === this.index % 5);
      this.scheduler = new Scheduler(
        this.store(),
        {
          calendar,
          declared: () => ({ schedules, unscheduled: ['work'] }),
          taskOf: async ({ name }, tick) => newTask({ id: uuid(), name, queue: 'q', payload: JSON.stringify(tick) }),
        },
        new Recorder(),
        (_doing, error) => error instanceof Crash || unexpected.push(error),
        () => {},
      );
      this.crashIn = Infinity;
      void this.scheduler.start();
      await ticks(200);
    }

    crashSoon(): void {
      this.crashIn = pick(3);
    }

    async end(): Promise<void> {
      await this.scheduler?.stop();
      this.scheduler = undefined;
    }

    /** Looks until there is nothing to do any more, as its loop would. */
    async look(): Promise<void> {
      for (let looks = 0; this.scheduler && (await this.scheduler.look()) === 0; looks++) {
        if (looks > 20) throw new Error('It looks for ever.');
      }
      if (this.crashIn !== Infinity) {
        events.crashes++;
        await this.end();
      }
    }

    /** As a process meets it that dies before a call, or after it but before its answer. */
    private store(): ScheduleStore {
      return new Proxy<ScheduleStore>(store.schedules, {
        get: (target, key) => {
          if (key !== 'tick') return (target[key as keyof ScheduleStore] as () => unknown).bind(target);
          return async (...args: Parameters<ScheduleStore['tick']>) => {
            const dies = this.crashIn-- <= 0;
            if (dies && random() < 0.5) throw new Crash();
            const moved = await target.tick(...args);
            if (!moved) events.outraced++;
            if (dies) {
              if (moved) events.repliesLost++;
              throw new Crash();
            }
            return moved;
          };
        },
      });
    }
  }

  const processes = Array.from({ length: 20 }, (_, index) => new Process(index));
  for (const each of processes) await each.start();
  for (const spec of specs.filter(({ declared }) => !declared)) {
    await store.schedules.put(definitionOf(spec), calendar.next(spec, start));
  }

  /** Takes what has been stored meanwhile out of the store, so that it stays small. */
  const { workerId } = await store.lease(
    { id: uuid(), host: 'h', pid: 1, version: '0', queues: ['q'] },
    { leaseMs: 2 ** 50, heartbeatMs: 2 ** 30 },
    { lost() {}, renewalFailed() {} },
  );
  const names = specs.map(({ name }) => name);
  const collect = async () => {
    for (;;) {
      const claimed = await store.claim({ workerId, queue: 'q', names, limit: 1_000 });
      if (claimed.length === 0) return;
      for (const { name, payload } of claimed) tasks.get(name)!.push(payload as number);
      await store.settle(
        workerId,
        claimed.map(({ id, queue, claimSeq }) => ({
          kind: 'finish' as const,
          id,
          queue,
          claimSeq,
          state: 'done' as const,
          keepMs: null,
          attempt: null,
        })),
      );
    }
  };

  const everything = { declared: specs.map(({ name }) => name), tasks: ['work'] };
  const running = () => processes.filter((each) => each.runs);
  let out = false;
  for (;;) {
    const { nextAt } = await store.schedules.due(everything, 1);
    if (nextAt === null || nextAt >= end) break;
    if (!out && nextAt >= outage.from) {
      out = true;
      for (const each of processes) await each.end();
      clock.now = outage.to;
      for (const each of processes) await each.start();
      continue;
    }
    clock.now = nextAt + pick(3_000);
    // Some at once, in any order; then one after another until nothing is due, since each knows only what it declares.
    for (let i = pick(4); i > 0; i--) running()[pick(running().length)]?.crashSoon();
    const first = running().filter(() => random() < 0.2);
    await Promise.all(first.map((each) => each.look()));
    for (const each of processes) {
      if ((await store.schedules.due(everything, 1)).due.length === 0) break;
      if (!each.runs) await each.start();
      await each.look();
    }
    for (const each of processes) if (!each.runs && random() < 0.5) await each.start();
    if (running().length === 0) await processes[pick(20)].start();
    // Whatever was due when a process died is for the others, or for those that come back.
    for (let i = 0; (await store.schedules.due(everything, 1)).due.length > 0; i++) {
      if (i > 100) throw new Error('Nobody lets them tick.');
      const each = processes[i % 20];
      if (!each.runs) await each.start();
      await each.look();
    }
    await collect();
  }
  for (const each of processes) await each.end();
  await collect();
  await store.close();

  expect(unexpected).toEqual([]);
  const known = new Map<string, number[]>();
  for (const { name, cron, timeZone, catchUp } of specs) {
    const key = `${cron} ${timeZone}`;
    if (!known.has(key)) known.set(key, ticksOf(cron, timeZone));
    const inOutage = (tick: number) => tick >= outage.from && tick <= outage.to;
    const latest = known.get(key)!.findLast(inOutage);
    const expected = known.get(key)!.filter((tick) => {
      if (catchUp === 'all' || !inOutage(tick)) return true;
      return tick === latest && (catchUp === 'last' || outage.to - tick <= minute);
    });
    expect([name, cron, timeZone, catchUp, tasks.get(name)]).toEqual([name, cron, timeZone, catchUp, expected]);
  }
  // What makes all this worth its while has happened.
  expect(events.crashes).toBeGreaterThan(1_000);
  expect(events.repliesLost).toBeGreaterThan(100);
  expect(events.outraced).toBeGreaterThan(1_000);
});

function definitionOf({ revision: _, paused: __, nextAt: ___, lastAt: ____, ...definition }: Schedule) {
  return definition;
}

/** What croner says of the year. */
function ticksOf(cron: string, timezone: string): number[] {
  const found: number[] = [];
  const pattern = new Cron(cron, { timezone, paused: true });
  let tick = pattern.nextRun(new Date(start));
  for (; tick && tick.getTime() < end; tick = pattern.nextRun(tick)) found.push(tick.getTime());
  return found;
}
