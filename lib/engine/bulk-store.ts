import type { TaskState } from './task.js';
import type { CancelOutcome } from './task-lookup.js';

/** Which tasks a bulk call is about; what is left out holds of any. */
export interface PickFilter {
  readonly queue?: string;
  readonly name?: string;
  readonly states?: readonly TaskState[];
  readonly uniqueKey?: string;
  /** Enqueued before this time, in milliseconds since 1970 by the store's clock. */
  readonly before: number;
  /** Only dead letters, or none of them; left out, both. */
  readonly dead?: boolean;
  /** The queue that dead letters came from. */
  readonly deadFrom?: string;
}

export interface PickRequest {
  readonly filter: PickFilter;
  /** Among live tasks, or among finished ones. */
  readonly among: 'live' | 'finished';
  readonly limit: number;
  /** The id after which to go on, or null. */
  readonly after: string | null;
}

/** A task that a bulk call found, as it stood then. */
export interface PickedTask {
  readonly id: string;
  readonly queue: string;
  readonly name: string;
}

/**
 * Changes many tasks, batch by batch: first they are looked for, then those of them that still are in a fitting state are
 * changed, in one transaction a batch. Whatever comes between two batches finds all tasks whole.
 */
export abstract class BulkStore {
  /** Looks for tasks, in the order of their ids. */
  abstract pick(request: PickRequest): Promise<readonly PickedTask[]>;
  /**
   * Ends those that are ready, asks the workers of those that run.
   *
   * @returns What became of each that was live.
   */
  abstract cancel(
    tasks: readonly PickedTask[],
    keepMs: (queue: string) => number | null,
  ): Promise<ReadonlyMap<string, Exclude<CancelOutcome, 'notLive'>>>;
  /**
   * Puts those back that have failed or were cancelled, dead letters to the queue they came from. One whose unique key is
   * taken stays as it is.
   *
   * @returns The ids of those that went back.
   */
  abstract retry(tasks: readonly PickedTask[]): Promise<readonly string[]>;
  /** Deletes those that do not run. @returns Their ids. */
  abstract remove(tasks: readonly PickedTask[]): Promise<readonly string[]>;
}
