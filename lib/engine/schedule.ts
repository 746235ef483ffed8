/** What becomes of ticks that passed while nobody could run them: each process was down, or the database was. */
export const CatchUp = {
  /** They are left out. A tick that is found within a minute still counts as in time. */
  none: 'none',
  /** The latest of them runs, late. The default. */
  last: 'last',
  /** Each of them runs, at most the latest 1,000. */
  all: 'all',
} as const;
export type CatchUp = (typeof CatchUp)[keyof typeof CatchUp];

/** What is said of a schedule when it is made. */
export interface ScheduleDefinition {
  /** Unique among all schedules. */
  readonly name: string;
  /** The name of the task that each tick enqueues. */
  readonly task: string;
  readonly queue: string;
  /** Five or six fields, or a nickname such as `@daily`. */
  readonly cron: string;
  /** An IANA name, such as `Europe/Berlin`. */
  readonly timeZone: string;
  readonly catchUp: CatchUp;
  /** A JSON object as text. Each task gets it with `tick` added. */
  readonly payload: string;
  readonly priority: number;
  readonly maxRetries: number | null;
  readonly timeoutMs: number | null;
  /** Whether a decorated class declares it; else it was made at run time. */
  readonly declared: boolean;
}

/** A schedule as it stands in the store. Times are milliseconds since 1970. */
export interface Schedule extends ScheduleDefinition {
  /** Grows with each change of the definition. */
  readonly revision: number;
  readonly paused: boolean;
  /** The tick that comes next, or that is due; null when there will be none. */
  readonly nextAt: number | null;
  /** The latest tick for which a task was enqueued. */
  readonly lastAt: number | null;
}

/** When a schedule ticks. Pure: the same question always has the same answer. */
export interface Calendar {
  /** The first tick after `after`, or null when there is none. */
  next(schedule: Pick<Schedule, 'cron' | 'timeZone'>, after: number): number | null;
  /** The latest ticks before `before`, at most so many, latest first. */
  previous(schedule: Pick<Schedule, 'cron' | 'timeZone'>, count: number, before: number): readonly number[];
}

/** A tick that is found this late is in time, as far as `catchUp: 'none'` is concerned. */
const inTimeMs = 60_000;
const mostCaughtUp = 1_000;

/** The ticks of a due schedule for which tasks are to be enqueued now, oldest first. */
export function ticksDue(schedule: Schedule & { readonly nextAt: number }, now: number, calendar: Calendar): number[] {
  const passed = (count: number) =>
    calendar
      .previous(schedule, count, now + 1)
      .filter((tick) => tick >= schedule.nextAt)
      .toSorted((one, other) => one - other);
  switch (schedule.catchUp) {
    case 'none':
      return passed(1).filter((tick) => now - tick <= inTimeMs);
    case 'last':
      return passed(1);
    case 'all':
      return fromNext(schedule, now, calendar) ?? passed(mostCaughtUp);
  }
}

/**
 * Forwards, since there are few as a rule, and to look a thousand ticks back takes as long as a thousand ticks.
 *
 * @returns undefined when there are more than may be caught up with.
 */
function fromNext(
  schedule: Schedule & { readonly nextAt: number },
  now: number,
  calendar: Calendar,
): number[] | undefined {
  const ticks: number[] = [];
  let tick = calendar.next(schedule, schedule.nextAt - 1);
  for (; tick !== null && tick <= now; tick = calendar.next(schedule, tick)) {
    if (ticks.push(tick) > mostCaughtUp) return undefined;
  }
  return ticks;
}
