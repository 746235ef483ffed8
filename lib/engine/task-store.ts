import type { BulkStore } from './bulk-store.js';
import type { ClaimRequest, Holding } from './claim.js';
import type { ControlStore } from './control-store.js';
import type { LaneStore } from './lane-store.js';
import type { Lease, LeaseEvents, LeaseTerms, WorkerIdentity } from './lease.js';
import type { LimitedClaim } from './limits.js';
import type { ScheduleStore } from './schedule-store.js';
import type { Settlement } from './settlement.js';
import type { Listening, StoreHint } from './store-hint.js';
import type { ClaimedTask, NewTask, Stored, Task, TaskState } from './task.js';
import type { CancelOutcome, PageRequest, TaskCounts, TaskFilter, TaskOutcome, TaskPage } from './task-lookup.js';
import type { TransactionSource } from './task-transaction.js';
import type { ExpireRequest, Expiry, PruneReport, PruneRequest, RescuedTask, RescueRequest } from './upkeep.js';

// The terms of the contract, for whoever implements it.
export type { ClaimRequest, Holding, SettledClaim } from './claim.js';
export type { Lease, LeaseEvents, LeaseTerms, WorkerIdentity } from './lease.js';
export type { AttemptReport, Settlement } from './settlement.js';
export type { Listening, StoreHint } from './store-hint.js';
export type { CancelOutcome, PageRequest, TaskCounts, TaskFilter, TaskOutcome, TaskPage } from './task-lookup.js';
export type { ExpireRequest, Expiry, RescuedTask, RescueRequest } from './upkeep.js';

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
   * @param committed May be told what came of a lone task before that is durable, though others see it already. If the
   * call fails after that, the task may be lost all the same: then `again` stores it, and its first claim number is not
   * given to another worker.
   * @returns One result a task, in their order.
   */
  abstract enqueue(
    tasks: readonly NewTask[],
    scope?: unknown,
    again?: boolean,
    committed?: (stored: Stored) => void,
  ): Promise<Stored[]>;
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
