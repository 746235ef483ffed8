import { Cron } from 'croner';
import type { Calendar, Schedule } from './engine/schedule.js';
import { InvalidScheduleError } from './errors/schedule.errors.js';
import { shown } from './options/checks.js';

type Pattern = Pick<Schedule, 'cron' | 'timeZone'>;

/** More than an application has schedules; beyond it patterns are read anew. */
const mostKept = 1_000;

/**
 * Reads cron patterns by croner. At the changes of daylight saving time a pattern with one number for the minute and one
 * for the hour ticks once: a wall-clock time that does not exist at the first time that does, one that exists twice the
 * first time. Every other pattern goes on through the change: every n minutes evenly, and an hour of a list, range or
 * step as often as it exists.
 */
export class CronCalendar implements Calendar {
  private readonly kept = new Map<string, Cron>();

  next(pattern: Pattern, after: number): number | null {
    return this.read(pattern).nextRun(new Date(after))?.getTime() ?? null;
  }

  previous(pattern: Pattern, count: number, before: number): readonly number[] {
    return this.read(pattern)
      .previousRuns(count, new Date(before))
      .map((tick) => tick.getTime());
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

  private read({ cron, timeZone }: Pattern): Cron {
    const key = `${timeZone} ${cron}`;
    let read = this.kept.get(key);
    if (!read) {
      if (this.kept.size >= mostKept) this.kept.clear();
      this.kept.set(key, (read = new Cron(cron, { timezone: timeZone, paused: true })));
    }
    return read;
  }
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
