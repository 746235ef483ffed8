import { Cron } from 'croner';
import type { Calendar, Schedule } from './engine/schedule.js';
import { InvalidScheduleError } from './errors/schedule.errors.js';
import { shown } from './options/checks.js';
import { UtcOffsets } from './utc-offsets.js';

type Pattern = Pick<Schedule, 'cron' | 'timeZone'>;

/** A pattern, and as one pattern for each time of day that it names, which are asked in its stead near a change. */
interface ReadPattern {
  readonly whole: Cron;
  readonly times: readonly string[];
}

/** A pattern that names more times of day than these means a stretch of the day rather than times of it. */
const mostTimes = 60;
/** More than an application has schedules; beyond it patterns are read anew. */
const mostKept = 1_000;

/**
 * Reads cron patterns by croner. At the changes of daylight saving time each wall-clock time that a pattern names ticks
 * once: one that does not exist at the first time that does, one that exists twice the first time. What a pattern leaves
 * open goes on through the change: every minute, every n minutes, every hour; so do more than 60 times a day.
 */
export class CronCalendar implements Calendar {
  private readonly kept = new Map<string, ReadPattern>();
  private readonly offsets = new UtcOffsets();

  next(pattern: Pattern, after: number): number | null {
    const { whole, times } = this.read(pattern);
    const tick = nextOf(whole, after);
    if (times.length < 2 || (tick !== null && this.offsets.steady(pattern.timeZone, after, tick))) return tick;
    let first: number | null = null;
    for (const part of this.parts(pattern, times)) {
      const one = nextOf(part, after);
      if (one !== null && (first === null || one < first)) first = one;
    }
    return first;
  }

  previous(pattern: Pattern, count: number, before: number): readonly number[] {
    const { whole, times } = this.read(pattern);
    const latest = previousOf(whole, count, before);
    const earliest = latest.length < count ? undefined : latest.at(-1);
    if (times.length < 2) return latest;
    if (earliest !== undefined && this.offsets.steady(pattern.timeZone, earliest, before)) return latest;
    const ticks = new Set<number>();
    for (const part of this.parts(pattern, times)) {
      for (const tick of previousOf(part, count, before)) ticks.add(tick);
    }
    return [...ticks].toSorted((one, other) => other - one).slice(0, count);
  }

  /**
   * Refuses what is no pattern, no time zone, or never ticks.
   *
   * @param where What the pattern belongs to, for the message.
   * @throws InvalidScheduleError
   */
  check(where: string, { cron, timeZone }: { readonly cron: unknown; readonly timeZone: unknown }): void {
    checkPattern(where, cron);
    checkTimeZone(where, timeZone);
    const pattern = { cron: cron as string, timeZone: timeZone as string };
    let first: number | null;
    try {
      first = this.next(pattern, Date.now());
    } catch (error) {
      const reason = error instanceof Error ? error.message.replace(/^CronPattern: /, '') : String(error);
      // Croner counts days and months from zero there.
      const written = reason.replace(/(?<= for (?:day|month): )-?\d+$/, (value) => String(Number(value) + 1));
      throw new InvalidScheduleError(`${where}: the cron pattern ${shown(cron)} cannot be read: ${written}`);
    }
    if (first === null) throw new InvalidScheduleError(`${where}: the cron pattern ${shown(cron)} never ticks.`);
  }

  private read({ cron, timeZone }: Pattern): ReadPattern {
    const key = `${timeZone} ${cron}`;
    let read = this.kept.get(key);
    if (!read) {
      if (this.kept.size >= mostKept) this.kept.clear();
      // As it was written first: what is wrong with it is said of that.
      const whole = new Cron(cron, { timezone: timeZone, paused: true });
      read = { whole, times: wallClockTimes(cron) };
      this.kept.set(key, read);
    }
    return read;
  }

  private *parts({ timeZone }: Pattern, times: readonly string[]): Iterable<Cron> {
    for (const cron of times) yield this.read({ cron, timeZone }).whole;
  }
}

function nextOf(cron: Cron, after: number): number | null {
  return cron.nextRun(new Date(after))?.getTime() ?? null;
}

function previousOf(cron: Cron, count: number, before: number): number[] {
  return cron.previousRuns(count, new Date(before)).map((tick) => tick.getTime());
}

/**
 * The pattern as one pattern for each time of day that it names, if it names any: croner ticks once a change only for a
 * single time, but not for one of a list, a range or a step.
 */
function wallClockTimes(cron: string): string[] {
  const fields = cron.trim().split(/\s+/);
  const [hour, minute, second] = fields.slice(0, -3).toReversed();
  if (hour === undefined || minute === undefined || (second !== undefined && !/^\d+$/.test(second))) return [];
  const hours = numbers(hour.replace(/^\*\//, '0-23/'));
  const minutes = numbers(minute);
  const rest = fields.slice(-3).join(' ');
  const prefix = second === undefined ? '' : `${second} `;
  if (hours.length * minutes.length > mostTimes) return [];
  return hours.flatMap((h) => minutes.map((m) => `${prefix}${m} ${h} ${rest}`));
}

/** The numbers of a list of numbers, ranges and steps in ranges; none when something else is among them. */
function numbers(field: string): number[] {
  const found = new Set<number>();
  for (const item of field.split(',')) {
    const [, from, to = from, step = '1'] = /^(\d+)(?:-(\d+)(?:\/(\d+))?)?$/.exec(item) ?? [];
    if (from === undefined || Number(step) === 0) return [];
    for (let value = Number(from); value <= Number(to); value += Number(step)) found.add(value);
  }
  return [...found];
}

function checkPattern(where: string, cron: unknown): void {
  const fields = typeof cron === 'string' ? cron.trim().split(/\s+/) : [];
  if (fields.length === 5 || fields.length === 6 || (fields.length === 1 && fields[0]?.startsWith('@'))) return;
  throw new InvalidScheduleError(
    `${where}: cron must have five fields (minute hour day month weekday), six (second first), ` +
      `or be a nickname such as "@daily", not ${shown(cron)}.`,
  );
}

function checkTimeZone(where: string, timeZone: unknown): void {
  try {
    if (typeof timeZone === 'string') return void new Intl.DateTimeFormat('en', { timeZone });
  } catch {
    // Falls through: it is unknown.
  }
  throw new InvalidScheduleError(
    `${where}: timeZone must be an IANA name such as "Europe/Berlin", not ${shown(timeZone)}.`,
  );
}
