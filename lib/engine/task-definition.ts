import type { Backoff } from './backoff.js';
import type { CurrentTask } from './current-task.js';
import type { DeclaredLimits, RateLimit } from './limits.js';
import type { Retention } from './retention.js';
import type { TransactionTerms } from './task-transaction.js';

/** Calls the user's handler for one attempt. */
export type TaskHandler = (payload: unknown, task: CurrentTask) => unknown;

/** What a worker knows of a task that it can run; every option has its value. */
export interface TaskDefinition {
  readonly name: string;
  readonly queue: string;
  readonly maxRetries: number;
  readonly backoff: Backoff;
  /** Milliseconds, or undefined: the queue's executionTimeoutMs counts, then the default. */
  readonly timeoutMs: number | undefined;
  /** Each attempt runs in a transaction, if these are given. */
  readonly transaction?: TransactionTerms | undefined;
  /** Over all processes, for each of its keys. @default none */
  readonly rateLimit?: RateLimit;
  readonly handler: TaskHandler;
  /** True: a done task stays with its result, whatever the queue keeps. False: no result is stored. */
  readonly keepResult?: boolean;
  /** How large an encoded result may be. @default 1 MiB */
  readonly maxResultBytes?: number;
  /** The queue under which failed tasks stay, whatever their own keeps. */
  readonly deadLetter?: string;
}

/** What a worker knows of a queue; every option has its value. */
export interface QueueDefinition {
  readonly name: string;
  readonly concurrency: number;
  readonly pollIntervalMs: number;
  readonly retention: Retention;
  /** Milliseconds for tasks that name no timeout of their own. */
  readonly executionTimeoutMs: number;
  /** What the options say of its limits over all processes; undefined when they do not name the queue. */
  readonly limits?: DeclaredLimits;
}
