import type { StoredError, Task, TaskReason, TaskState } from './task.js';

export interface TaskFilter {
  readonly queue?: string | undefined;
  readonly name?: string | undefined;
  readonly state?: TaskState | readonly TaskState[] | undefined;
  readonly uniqueKey?: string | undefined;
}

export interface PageRequest {
  /** How many at most, 1 to 1,000. @default 100 */
  readonly limit?: number | undefined;
  /** The `next` of the page before. */
  readonly after?: string | undefined;
  /** By time of enqueueing. @default 'newestFirst' */
  readonly order?: 'newestFirst' | 'oldestFirst' | undefined;
}

export interface TaskPage {
  readonly tasks: readonly Task[];
  /** Pass it as `after` to get the next page; null on the last one. */
  readonly next: string | null;
}

/** Where an awaited task stands. */
export interface TaskOutcome {
  readonly name: string;
  /** The queue that it is or was worked on. */
  readonly queue: string;
  readonly state: TaskState;
  /** What a done task's handler returned, as JSON brings it back. */
  readonly result?: unknown;
  /** Of the latest attempt, if it had one. */
  readonly error?: StoredError | undefined;
  /** Why it ended, where its state does not say so. */
  readonly reason?: TaskReason | undefined;
}

export type TaskCounts = Readonly<Record<TaskState, number>>;

/** What became of a wish to cancel. */
export type CancelOutcome = 'cancelled' | 'requested' | 'notLive';
