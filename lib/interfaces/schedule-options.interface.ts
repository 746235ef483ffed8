import type { CatchUp, Schedule } from '../engine/schedule.js';

/** When a schedule ticks. */
export interface ScheduleTimes {
  /**
   * Five fields (minute, hour, day of month, month, day of week), six with the second first, or a nickname such as
   * `@daily`. Ranges, lists, steps and names work as in croner.
   */
  readonly cron: string;
  /** An IANA name, such as `Europe/Berlin`. @default 'UTC' */
  readonly timeZone?: string | undefined;
  /**
   * What becomes of ticks that passed while no process could run them: `last` runs the latest of them, `all` each of
   * them (at most the latest 1,000), `none` leaves out those that are more than a minute late. @default 'last'
   */
  readonly catchUp?: CatchUp | undefined;
}

/** The options of `TaskQueue.schedule`; the payload may be left out when the task requires nothing of it but its tick. */
export type ScheduleOptions<Payload = Record<string, unknown>> = ScheduleSettings &
  PayloadOption<SchedulePayload<Payload>>;

/** What a schedule says beside its payload. */
export interface ScheduleSettings extends ScheduleTimes {
  /** @default the task's queue */
  readonly queue?: string | undefined;
  /** Higher runs first, -32,768 to 32,767. @default the task's priority */
  readonly priority?: number | undefined;
  /** How many failed attempts are followed by another. @default the task's maxRetries */
  readonly maxRetries?: number | undefined;
  /** How many milliseconds an attempt may take. @default the task's timeoutMs */
  readonly timeoutMs?: number | undefined;
}

/** What a schedule gives to each task: its payload without the `tick`. None that is no object can be given. */
export type SchedulePayload<Payload> = unknown extends Payload
  ? object
  : Payload extends object
    ? Omit<Payload, 'tick'>
    : never;

type PayloadOption<Given> = [Given] extends [never]
  ? { readonly payload?: never }
  : Partial<Given> extends Given
    ? Partial<PayloadGiven<Given>>
    : PayloadGiven<Given>;

interface PayloadGiven<Given> {
  /**
   * An object without a `tick`. Each task gets it with `tick` added: the time for which it was enqueued, as an ISO string.
   * @default {}
   */
  readonly payload: Given;
}

/** A schedule as `TaskQueue.schedules` shows it. */
export interface ScheduleInfo extends Omit<Schedule, 'revision' | 'payload' | 'nextAt' | 'lastAt'> {
  readonly payload: Record<string, unknown>;
  /** The next tick; null when there will be none. */
  readonly nextAt: Date | null;
  /** The latest tick that enqueued a task. */
  readonly lastAt: Date | null;
}
