import type { TaskState } from '../engine/task.js';
import type { TaskFilter } from '../engine/task-lookup.js';

/**
 * Which tasks `TaskQueue.cancelMany`, `retryMany` and `removeMany` are about: `{}` for all. `State` are those that the call
 * can change.
 */
export interface BulkFilter<State extends TaskState = TaskState> extends Omit<TaskFilter, 'state'> {
  /** Only tasks in this state, or in one of these. */
  readonly state?: State | readonly State[];
  /** Only tasks that were enqueued before. @default now, so that tasks that come meanwhile are left alone */
  readonly before?: Date;
}

/** Which dead letters of a queue `TaskQueue.redrive` sends back. */
export interface RedriveFilter extends Omit<BulkFilter, 'queue' | 'state'> {
  /** Only those that failed on this queue. */
  readonly deadFrom?: string;
}

/** The options of `TaskQueue.result`. */
export interface ResultOptions {
  /** How long to wait, 1 to 2,147,483,647 milliseconds. @default 30_000 */
  readonly timeoutMs?: number | undefined;
}
