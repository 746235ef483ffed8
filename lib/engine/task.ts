/** What everything speaks: the task as it is stored, seen and handed to a worker. */

/** Where a task stands in its life. */
export const TaskState = {
  /** Waiting for a worker, or for its due time. */
  ready: 'ready',
  /** Claimed by a worker. */
  running: 'running',
  /** Its handler returned. */
  done: 'done',
  /** Its last attempt failed, or the error was unrecoverable. */
  failed: 'failed',
  /** Ended on request, or not started before it expired. */
  cancelled: 'cancelled',
} as const;
export type TaskState = (typeof TaskState)[keyof typeof TaskState];

/** A state from which only `TaskQueue.retry` leads on. */
export type FinishedState = Exclude<TaskState, 'ready' | 'running'>;

/** An error as it is stored with a failed attempt: text only, at most 8 KiB, never the payload. */
export interface StoredError {
  readonly name: string;
  readonly message: string;
  readonly stack?: string;
  /** The error that caused this one. */
  readonly cause?: StoredError;
}

/** How an attempt ended. */
export type AttemptOutcome = 'done' | 'snoozed' | 'failed' | 'timedOut' | 'cancelled' | 'crashed';

/** How many attempts a task remembers, the latest. */
export const rememberedAttempts = 500;
/** The errors of older attempts lose their stack and cause, and all of their message but its beginning. */
export const fullErrors = 50;
/** How many characters of an older error's message are kept. */
export const briefMessageLength = 200;

/** One attempt that has ended. */
export interface TaskAttempt {
  /** Counted from 1. */
  readonly number: number;
  readonly outcome: AttemptOutcome;
  /** The worker that ran it. */
  readonly workerId: string;
  readonly startedAt: Date;
  readonly finishedAt: Date;
  readonly error?: StoredError;
}

/** Why a task ended as it did, where its state and its attempts do not say so. */
export const TaskReason = {
  /** It was cancelled because it had not started by the time that `expiresInMs` allowed. */
  expired: 'expired',
} as const;
export type TaskReason = (typeof TaskReason)[keyof typeof TaskReason];

/** A task as `TaskQueue.find` and `list` show it. */
export interface Task<Payload = unknown> {
  /** UUIDv7: sorts by the time of enqueueing. */
  readonly id: string;
  readonly name: string;
  readonly queue: string;
  readonly state: TaskState;
  readonly payload: Payload;
  /** Higher runs first. */
  readonly priority: number;
  /** The key that keeps the task unique, or null. */
  readonly uniqueKey: string | null;
  /** The key of which only so many tasks run at once, or null. */
  readonly concurrencyKey: string | null;
  /** How many attempts have started. */
  readonly attempt: number;
  /** How many failed attempts were followed by another. */
  readonly retries: number;
  /** The limit given at `enqueue`, or null: the one of the task's definition counts. */
  readonly maxRetries: number | null;
  /** Milliseconds, given at `enqueue`, or null: the one of the task's definition counts. */
  readonly timeoutMs: number | null;
  /** How many times a worker died while it held the task. */
  readonly crashes: number;
  /** Grows by one with each claim and is never reset. */
  readonly claimSeq: number;
  /** The worker that runs it, while it runs. */
  readonly workerId: string | null;
  readonly createdAt: Date;
  /** When it is or was due. */
  readonly scheduledAt: Date;
  /** When its latest attempt started. */
  readonly startedAt: Date | null;
  readonly finishedAt: Date | null;
  /** When it ends as cancelled unless it has started before, or null: never. */
  readonly expiresAt: Date | null;
  /** Why it ended, where its state and its attempts do not say so; else null. */
  readonly reason: TaskReason | null;
  /**
   * The attempts that have ended, oldest first: the latest 500. Of errors, the latest 50 have their stack and cause; of
   * older ones the name and the first 200 characters of the message are left.
   */
  readonly attempts: readonly TaskAttempt[];
  /** What the handler returned, as JSON brings it back: of a done task that was kept. */
  readonly result?: unknown;
  /** The queue that it failed on, if its `queue` is one of dead letters; else null. */
  readonly deadFrom: string | null;
}

/** How a unique key is held, when not simply by a live task that is kept. */
export interface UniqueTerms {
  /** For how long: while the task lives, until it is claimed for the first time, or for `windowMs` after the enqueue. */
  readonly scope: 'live' | 'waiting' | 'window';
  /** Milliseconds; null for the other scopes. */
  readonly windowMs: number | null;
  /** Whether a holder that has not started gets what the new task says. */
  readonly replace: boolean;
  /** Whether it gets the new task's due time too. */
  readonly movesDue: boolean;
}

/** A task to be stored, checked and encoded. */
export interface NewTask {
  /** UUIDv7, made by the client: the same one stored twice gives one row. */
  readonly id: string;
  readonly name: string;
  readonly queue: string;
  /** JSON text. */
  readonly payload: string;
  readonly priority: number;
  readonly uniqueKey: string | null;
  /** Of the unique key. Absent: it is held while the task lives, and the holder is kept as it is. */
  readonly unique?: UniqueTerms;
  /** Which bucket of its task's rate limit it takes from. @default the one of tasks without a key */
  readonly rateKey?: string;
  readonly maxRetries: number | null;
  readonly timeoutMs: number | null;
  /** Ends as cancelled when it has not started this many milliseconds after it was stored. Absent: never. */
  readonly expiresInMs?: number;
  /** Due this many milliseconds from now by the database's clock, or at a fixed time. */
  readonly due: { readonly inMs: number } | { readonly at: Date };
  /**
   * Store it as claimed by this worker already, unless the queue is paused or limited or the worker's lease has ended:
   * its first claim, which spares a round trip when the worker is idle.
   */
  readonly handTo?: string;
  /** The concurrency key: the task is parked in its lane until it is its turn. */
  readonly lane?: string | null;
  /** It gets its place while fewer tasks of its lane than this have one. @default 1 */
  readonly laneLimit?: number;
}

/** What became of one task that was to be stored. */
export interface Enqueued {
  /** The new task's id, or the id of the task that holds the unique key. */
  readonly id: string;
  /** True when an equal unique task already stood in its place. */
  readonly duplicate: boolean;
  /** True, beside `duplicate`, when that task had not started and now has the new payload and options; else absent. */
  readonly replaced?: boolean;
}

/** What became of one task, as the store tells it. */
export interface Stored extends Enqueued {
  /**
   * When it was stored as claimed by the worker of `handTo`, with claim number and attempt 1: milliseconds since 1970 by
   * the store's clock. Absent when it was not.
   */
  readonly handedAt?: number;
}

/** A task that a worker holds. */
export interface ClaimedTask {
  readonly id: string;
  readonly name: string;
  readonly queue: string;
  readonly payload: unknown;
  readonly priority: number;
  readonly attempt: number;
  readonly retries: number;
  /** How many times a worker died while it held the task. */
  readonly crashes: number;
  readonly maxRetries: number | null;
  readonly timeoutMs: number | null;
  /** The fence: only the holder of the newest number may settle. */
  readonly claimSeq: number;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** Milliseconds since 1970. */
  readonly scheduledAt: number;
  /** How many milliseconds after its claim it may still start; absent or null: whenever. */
  readonly expiresInMs?: number | null;
  /** Its concurrency key, or null. */
  readonly lane: string | null;
}
