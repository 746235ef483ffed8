import type { CatchUp, Schedule } from '../engine/schedule.js';

/** When a schedule ticks. */
export interface ScheduleTimes {
  /**
   * Five fields (minute, hour, day of month, month, day of week), six with the second first, or a nickname such as
   * `@daily`. Ranges, lists, steps and names work as in croner.
   */
  readonly cron: string;
  /** An IANA name, such as `Europe/Berlin`. @default 'UTC' */
  readonly timeZone?: string;
  /**
   * What becomes of ticks that passed while no process could run them: `last` runs the latest of them, `all` each of
   * them (at most the latest 1,000), `none` leaves out those that are more than a minute late. @default 'last'
   */
  readonly catchUp?: CatchUp;
}

/** The options of `TaskQueue.schedule`. */
export interface ScheduleOptions<Payload = Record<string, unknown>> extends ScheduleTimes {
  /**
   * An object without a `tick`. Each task gets it with `tick` added: the time for which it was enqueued, as an ISO string.
   * @default {}
   */
  readonly payload?: Omit<Payload, 'tick'>;
  /** @default the task's queue */
  readonly queue?: string;
  /** Higher runs first, -32,768 to 32,767. @default the task's priority */
  readonly priority?: number;
  /** How many failed attempts are followed by another. @default the task's maxRetries */
  readonly maxRetries?: number;
  /** How many milliseconds an attempt may take. @default the task's timeoutMs */
  readonly timeoutMs?: number;
}

/** A schedule as `TaskQueue.schedules` shows it. */
export interface ScheduleInfo extends Omit<Schedule, 'revision' | 'payload' | 'nextAt' | 'lastAt'> {
  readonly payload: Record<string, unknown>;
  /** The next tick; null when there will be none. */
  readonly nextAt: Date | null;
  /** The latest tick that enqueued a task. */
  readonly lastAt: Date | null;
}
