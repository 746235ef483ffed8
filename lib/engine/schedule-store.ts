import type { NewTask, Stored } from './task.js';
import type { Schedule, ScheduleDefinition } from './schedule.js';

/** What became of a schedule that was to be stored. */
export type PutOutcome =
  | 'stored'
  /** It stands there as it is. */
  | 'unchanged'
  /** Its name belongs to a schedule that a class declares, or one that was made at run time. */
  | 'taken';

/** What a process knows, and thus which schedules it lets tick. */
export interface ScheduleAsker {
  /** The names of the schedules that its classes declare. */
  readonly declared: readonly string[];
  /** The names of its tasks: it lets tick what was made at run time for one of them, since it knows their rules. */
  readonly tasks: readonly string[];
}

/** Which schedules are due, as a process sees that. */
export interface DueSchedules {
  /** The store's clock. */
  readonly now: number;
  readonly due: readonly (Schedule & { readonly nextAt: number })[];
  /** When the first of the others ticks; null when there is none. */
  readonly nextAt: number | null;
  /** Of the names that the asker declares, those that no schedule of either kind has. */
  readonly missing: readonly string[];
}

/**
 * Where schedules are kept: part of the storage contract. Times are milliseconds since 1970 by the store's clock.
 *
 * Exactly one task comes of each tick, whatever number of processes look: `tick` moves a schedule on and stores its tasks
 * in one transaction, and only for whoever found it where it stands.
 */
export abstract class ScheduleStore {
  abstract now(): Promise<number>;
  /**
   * Makes or changes a schedule. `nextAt` counts when it is new, or ticks at other times than before. One that
   * `removeDeclared` took away comes back with its pause and its latest tick when it is declared again, within a minute
   * with its next tick too.
   */
  abstract put(schedule: ScheduleDefinition, nextAt: number | null): Promise<PutOutcome>;
  /** @returns Whether there was one of this name, of either kind. */
  abstract remove(name: string): Promise<boolean>;
  /** Removes those of these names that a class declared once, and tells those that listen. */
  abstract removeDeclared(names: readonly string[]): Promise<void>;
  /** In the order of their names. */
  abstract list(): Promise<readonly Schedule[]>;
  abstract find(name: string): Promise<Schedule | null>;
  /** Lets it tick no more. @returns Whether there is one. */
  abstract pause(name: string): Promise<boolean>;
  /** Lets a paused one tick again, from `nextAt` on. @returns Whether there is one. */
  abstract resume(name: string, nextAt: number | null): Promise<boolean>;
  /** Due ones that are the asker's, oldest tick first. */
  abstract due(asker: ScheduleAsker, limit: number): Promise<DueSchedules>;
  /**
   * Moves a schedule on from the tick that is due, and stores tasks, all or nothing.
   *
   * @returns What became of each task; null when it has been moved on, changed, paused or removed meanwhile: nothing is
   * stored then.
   */
  abstract tick(
    schedule: Schedule & { readonly nextAt: number },
    to: { readonly nextAt: number | null; readonly lastAt: number | null },
    tasks: readonly NewTask[],
  ): Promise<readonly Stored[] | null>;
}
