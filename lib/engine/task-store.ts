import type { ControlStore } from './control-store.js';
import type { LimitedClaim } from './limits.js';
import type { LaneStore } from './lane-store.js';
import type { BulkStore } from './bulk-store.js';
import type { ScheduleStore } from './schedule-store.js';
import type { TaskRef } from './task-event.js';
import type { TransactionSource } from './task-transaction.js';
import type { PruneReport, PruneRequest } from './upkeep.js';
import type {
  ClaimedTask,
  FinishedState,
  NewTask,
  Stored,
  StoredError,
  Task,
  TaskAttempt,
  TaskReason,
  TaskState,
} from './task.js';

/** How a claimed task goes on. Each names the claim that it ends, so that a stale one changes nothing. */
export type Settlement = SettledClaim &
  (
    | {
        readonly kind: 'finish';
        readonly state: FinishedState;
        /** For how many milliseconds the finished task stays: null when it does not, Infinity for ever. */
        readonly keepMs: number | null;
        readonly attempt: AttemptReport | null;
        /** JSON text of what the handler returned, for a done task that stays. */
        readonly result?: string;
        /** The queue under which a failed task stays, in place of its own. */
        readonly deadLetter?: string;
      }
    | { readonly kind: 'retry'; readonly delayMs: number; readonly attempt: AttemptReport }
    /** Back to its queue for later: the attempt counts, but uses up no retry. */
    | { readonly kind: 'snooze'; readonly delayMs: number; readonly attempt: AttemptReport }
    /** Back to its queue, as if this claim had never been: no attempt and no retry is used up. */
    | { readonly kind: 'release' }
  );

/** The state that a settlement asks for. */
export function stateAfter(settlement: Settlement): TaskState {
  return settlement.kind === 'finish' ? settlement.state : 'ready';
}

export interface SettledClaim {
  readonly id: string;
  readonly queue: string;
  readonly claimSeq: number;
}

/**
 * What a worker reports of an attempt; the store adds the worker and the times. Of one that is done nothing is reported:
 * the task itself tells all of it.
 */
export type AttemptReport = Pick<TaskAttempt, 'number' | 'outcome' | 'error'>;

export interface ClaimRequest {
  readonly workerId: string;
  readonly queue: string;
  /** The task names that this process has handlers for; all others are left alone. */
  readonly names: readonly string[];
  /** At least 1. */
  readonly limit: number;
  /**
   * How many of them start at once; the rest is claimed ahead, and no crash of this worker counts against it.
   * @default limit
   */
  readonly startNow?: number;
  /**
   * Tasks that so many workers or more have died with are suspects: at most one is taken, before all others, or none.
   * @default suspects are taken like any other
   */
  readonly suspects?: { readonly crashes: number; readonly takeOne: boolean };
}

/** A task that a worker holds according to the store. */
export interface Holding extends SettledClaim {
  /** Whether somebody wants it cancelled. */
  readonly cancelRequested: boolean;
}

/** A subscription to hints. */
export interface Listening {
  /** Whether hints arrive at the moment, as far as is known. */
  readonly live: boolean;
  stop(): Promise<void>;
}

/** One process that works, as it registers itself. */
export interface WorkerIdentity {
  /** UUIDv7. A worker whose lease was lost comes back under a new one. */
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  readonly version: string;
  readonly queues: readonly string[];
}

/** How long a lease lasts and how often it is renewed, in milliseconds. */
export interface LeaseTerms {
  readonly leaseMs: number;
  readonly heartbeatMs: number;
}

export interface LeaseEvents {
  /** The lease is gone: the database has given it away, or it could not be renewed in time. Called at most once. */
  lost(): void;
  /** A renewal failed and will be tried again. */
  renewalFailed(error: unknown): void;
  /** The lease is kept, but with less protection than usual, for this reason. */
  weakened?(reason: string): void;
}

/** The lease that covers all tasks of one worker. */
export interface Lease {
  readonly workerId: string;
  /** Gives it up: somebody knows for sure that the database has given it away. Calls `lost` unless it is over. */
  lose(): void;
  /** Milliseconds by the process's monotonic clock that are left of the lease as far as this process knows. */
  remainingMs(): number;
  /**
   * Renew even while the event loop is blocked, but only until `withinMs` from now: a process whose loop never comes
   * back must not hold its tasks for ever.
   */
  sustain(withinMs: number): void;
  /** Ends the lease: the worker holds nothing any more. */
  end(): Promise<void>;
}

export interface RescueRequest {
  /** Wait this long after the server's own start: a worker may be alive that could not renew while it was down. */
  readonly leaseMs: number;
  /** A task that was held by this many workers when they died fails as quarantined. */
  readonly maxCrashes: number;
  /** For how many milliseconds failed tasks stay, by queue, as `keepMs` of a settlement. */
  readonly keepFailedMs: ReadonlyMap<string, number | null>;
  /** The same, of all other queues. @default Infinity */
  readonly keepOthersMs?: number | null;
  /** Task name → queue under which those that fail stay, for ever. */
  readonly deadLetters?: Readonly<Record<string, string>>;
}

export interface RescuedTask {
  readonly id: string;
  readonly name: string;
  readonly queue: string;
  readonly attempt: number;
  readonly crashes: number;
  /** True: it has failed for good. */
  readonly quarantined: boolean;
}

export interface ExpireRequest {
  /** For how many milliseconds cancelled tasks stay, by queue, as `keepMs` of a settlement. */
  readonly keepCancelledMs: ReadonlyMap<string, number | null>;
  /** The same, of all other queues. @default Infinity */
  readonly keepOthersMs?: number | null;
}

export interface Expiry {
  readonly expired: readonly TaskRef[];
  /** Milliseconds until the next task expires that waits now, or null: none will. */
  readonly nextInMs: number | null;
}

/** What a store tells its listeners. A hint, never needed: it may be lost, doubled or late. */
export type StoreHint =
  /** Something is due on this queue in so many milliseconds; without a queue: on any, after a new connection. */
  | { readonly kind: 'wake'; readonly queue?: string; readonly inMs?: number }
  /** Somebody wants this running task cancelled; `holdings` tells whether that is so, and in which claim. */
  | { readonly kind: 'cancel'; readonly id: string }
  /** A task that somebody awaits has ended. */
  | { readonly kind: 'ended'; readonly id: string }
  /** A schedule was made, changed or resumed. */
  | { readonly kind: 'schedule' }
  /** Limits or pauses have changed. */
  | { readonly kind: 'control' }
  /** A worker was taken for dead, and its tasks were given away. */
  | { readonly kind: 'buried'; readonly workerId: string }
  /** No hints will come, for this reason; polling has to do. */
  | { readonly kind: 'deaf'; readonly reason: string };

export interface TaskFilter {
  readonly queue?: string;
  readonly name?: string;
  readonly state?: TaskState | readonly TaskState[];
  readonly uniqueKey?: string;
}

export interface PageRequest {
  /** How many at most, 1 to 1,000. @default 100 */
  readonly limit?: number;
  /** The `next` of the page before. */
  readonly after?: string | undefined;
  /** By time of enqueueing. @default 'newestFirst' */
  readonly order?: 'newestFirst' | 'oldestFirst';
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
  readonly error?: StoredError;
  /** Why it ended, where its state does not say so. */
  readonly reason?: TaskReason;
}

export type TaskCounts = Readonly<Record<TaskState, number>>;

/** What became of a wish to cancel. */
export type CancelOutcome = 'cancelled' | 'requested' | 'notLive';

/**
 * The storage contract. One contract suite runs against every implementation: read it to learn what each method must
 * hold when others race it.
 *
 * A `Scope` is the caller's transaction in the store's own terms (a TypeORM `EntityManager` for PostgreSQL).
 */
export abstract class TaskStore {
  /** Where the tasks are, for the log. Never a password. */
  abstract readonly description: string;
  /** Where the schedules are: with the tasks. */
  abstract readonly schedules: ScheduleStore;
  /** Runs attempts in transactions; null when the store has none. */
  abstract readonly transactions: TransactionSource | null;
  /** Where limits and pauses are that hold for all processes. */
  abstract readonly control: ControlStore;
  /** Concurrency keys, their limits and pauses. */
  abstract readonly lanes: LaneStore;
  /** Changes many tasks. */
  abstract readonly bulk: BulkStore;

  /** Connects and brings the schema up to date. */
  abstract open(): Promise<void>;
  /** Closes everything that `open` opened. Safe to call twice. */
  abstract close(): Promise<void>;
  /** Whether the error lies in the connection or the server's state, so that trying again makes sense. */
  abstract isTransient(error: unknown): boolean;

  /**
   * Stores tasks, all or none, and resolves after the commit, or, inside a caller's transaction, after the insert.
   *
   * @param again These may have been stored before, by a call whose reply was lost: an id that is there, live or
   * finished and kept, is left as it is. Without it only live ids are sure to be noticed.
   * @returns One result a task, in their order.
   */
  abstract enqueue(tasks: readonly NewTask[], scope?: unknown, again?: boolean): Promise<Stored[]>;
  /**
   * Runs `effect` once the transaction of `scope` has committed, never if it rolls back; at once without a scope.
   */
  abstract afterCommit(scope: unknown, effect: () => void): void;
  /** The transaction that the caller is in without having said so, when the store can know of one. */
  abstract ambientScope(): unknown;

  /** Registers a worker and keeps its lease until `end()` or until it is lost. */
  abstract lease(worker: WorkerIdentity, terms: LeaseTerms, events: LeaseEvents): Promise<Lease>;
  /**
   * Takes due tasks of a queue that is neither paused nor limited, by priority, then due time, for a worker whose lease is
   * alive.
   */
  abstract claim(request: ClaimRequest): Promise<ClaimedTask[]>;
  /**
   * The same for a queue that may be limited, or tasks with a rate limit: what the limits allow, whoever claims beside.
   * Nothing is claimed ahead. A claim counts as a start, also of a task that is given back.
   */
  abstract claimLimited(request: ClaimRequest): Promise<LimitedClaim>;
  /**
   * Applies settlements. Those of tasks with a concurrency key are to be followed by `lanes.admit`.
   *
   * @returns The state that each task is in now, by id: what would go back ends as cancelled when somebody wished so
   * meanwhile. Ids that are missing are lost: another claim has taken their place.
   */
  abstract settle(workerId: string, settlements: readonly Settlement[]): Promise<ReadonlyMap<string, TaskState>>;
  /** What the worker holds: to learn what is to be cancelled, and to find claims whose reply was lost. */
  abstract holdings(workerId: string): Promise<readonly Holding[]>;
  /** Milliseconds until the next ready task of the queue falls due that is not due yet; null when there is none. */
  abstract nextDueMs(queue: string): Promise<number | null>;
  /** Gives the tasks of dead workers back to their queues; any process may call it at any time. */
  abstract rescue(request: RescueRequest): Promise<readonly RescuedTask[]>;

  /**
   * Ends tasks as cancelled that have not started by the time that they expire, and forgets windows of unique keys that
   * are over; any process may call it at any time. No such task is claimed, or holds its key against a new one, meanwhile.
   */
  abstract expire(request: ExpireRequest): Promise<Expiry>;

  /**
   * Removes finished tasks whose time is over, and what else expires, if that is to be done today and nobody else does it;
   * any process may call it at any time. Until it is removed, what is over is only as good as gone.
   */
  abstract prune(request: PruneRequest): Promise<PruneReport>;

  /** Tells of new work until it is stopped. Never throws; polling alone suffices. */
  abstract listen(listener: (hint: StoreHint) => void): Promise<Listening>;

  abstract find(id: string): Promise<Task | null>;
  /**
   * Looks where tasks stand that somebody awaits. From now on a hint tells when one of those that are live ends.
   *
   * @returns By id. One that is missing may just be ending: when it is missing again, it is not there.
   */
  abstract outcomes(ids: readonly string[]): Promise<ReadonlyMap<string, TaskOutcome>>;
  abstract list(filter: TaskFilter, page: PageRequest): Promise<TaskPage>;
  abstract counts(queue?: string): Promise<TaskCounts>;
  /**
   * Ends a ready task; asks the worker of a running one.
   *
   * @param keepMs For how many milliseconds the cancelled task stays, as `keepMs` of a settlement.
   */
  abstract cancel(id: string, keepMs: (queue: string) => number | null): Promise<CancelOutcome>;
  /**
   * Puts a failed or cancelled task back to its queue with all its retries.
   *
   * @throws UniqueKeyTakenError when another live task holds its unique key.
   */
  abstract retry(id: string): Promise<boolean>;
  /** Deletes a task that is not running. */
  abstract remove(id: string): Promise<boolean>;
  /** Lets no process claim from the queue, now and after restarts. */
  abstract pause(queue: string): Promise<void>;
  abstract resume(queue: string): Promise<void>;
  abstract pausedQueues(): Promise<readonly string[]>;
}
