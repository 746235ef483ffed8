export { BackieModule } from './backie.module.js';
export type { BackieModuleExtras } from './backie.module-definition.js';
export { getTaskEventsToken, getTaskQueueToken, getTaskStoreToken, getWorkerPoolToken } from './constants.js';
export { BackgroundTask } from './decorators/background-task.decorator.js';
export { Backoff } from './engine/backoff.js';
export type { BackoffFunction, BackoffMode, ExponentialBackoff } from './engine/backoff.js';
export { CurrentTask } from './engine/current-task.js';
export type { TaskManager } from './engine/current-task.js';
export { ControlStore } from './engine/control-store.js';
export type { Declarations } from './engine/control-store.js';
export type {
  Control,
  DeclaredLimits,
  LimitChanges,
  LimitedClaim,
  QueueControl,
  QueueLimits,
  RatedTask,
  RateLimit,
} from './engine/limits.js';
export type { Lane, PausedLane } from './engine/lane.js';
export { LaneStore } from './engine/lane-store.js';
export { CatchUp } from './engine/schedule.js';
export type { Schedule, ScheduleDefinition } from './engine/schedule.js';
export { BulkStore } from './engine/bulk-store.js';
export type { PickedTask, PickFilter, PickRequest } from './engine/bulk-store.js';
export { ScheduleStore } from './engine/schedule-store.js';
export type { DueSchedules, PutOutcome } from './engine/schedule-store.js';
export { RetentionMode } from './engine/retention.js';
export type { Retention, RetentionTime, RetentionTimes } from './engine/retention.js';
export { TaskReason, TaskState } from './engine/task.js';
export type {
  AttemptOutcome,
  ClaimedTask,
  Enqueued,
  FinishedState,
  NewTask,
  Stored,
  StoredError,
  Task,
  TaskAttempt,
  UniqueTerms,
} from './engine/task.js';
export type { AttemptRef, TaskEventKind, TaskEventMap, TaskRef } from './engine/task-event.js';
export { TaskStore } from './engine/task-store.js';
export { IsolationLevel } from './engine/task-transaction.js';
export type {
  TaskTransaction,
  TransactionRequest,
  TransactionSource,
  TransactionTerms,
} from './engine/task-transaction.js';
export type { ClaimRequest, Holding, SettledClaim } from './engine/claim.js';
export type { Lease, LeaseEvents, LeaseTerms, WorkerIdentity } from './engine/lease.js';
export type { AttemptReport, Settlement } from './engine/settlement.js';
export type { Listening, StoreHint } from './engine/store-hint.js';
export type {
  CancelOutcome,
  PageRequest,
  TaskCounts,
  TaskFilter,
  TaskOutcome,
  TaskPage,
} from './engine/task-lookup.js';
export type { ExpireRequest, Expiry, PruneReport, PruneRequest, RescuedTask, RescueRequest } from './engine/upkeep.js';
export type { PoolState, WorkerPoolStatus } from './engine/pool-status.js';
export type { SlotReservation } from './engine/slot-reservation.js';
export { WorkerPool } from './engine/worker-pool.js';
export {
  BackieError,
  ConcurrencyKeyError,
  ConnectionFailedError,
  DuplicateTaskNameError,
  InvalidOptionsError,
  InvalidPayloadError,
  LeaseLostError,
  MissingConnectionError,
  MissingHandlerError,
  NotTransactionalError,
  PayloadSchemaError,
  QuarantinedError,
  QueueNotConfiguredError,
  SchemaOutdatedError,
  SchemaTooNewError,
  ShutdownError,
  StoreClosedError,
  StoreUnavailableError,
  TaskCancelledError,
  TaskTimeoutError,
  TransactionEndedError,
  TransactionFailedError,
  TransactionsUnsupportedError,
  UniqueKeyPendingError,
  UniqueKeyTakenError,
  UnknownTaskError,
  UnrecoverableTaskError,
} from './errors/index.js';
export type {
  BackieDefaults,
  BackieModuleOptions,
  BackieOptionsFactory,
  QueueOptions,
} from './interfaces/backie-module-options.interface.js';
export type {
  BackgroundTaskClass,
  BackgroundTaskHandler,
  PayloadOf,
  ResultOf,
} from './interfaces/background-task-handler.interface.js';
export type { BackgroundTaskOptions, TaskRateLimit } from './interfaces/background-task-options.interface.js';
export type { EnqueueManyOptions, EnqueueOptions } from './interfaces/enqueue-options.interface.js';
export { OnConflict, UniqueScope } from './interfaces/unique-options.interface.js';
export type { UniqueOptions } from './interfaces/unique-options.interface.js';
export type { KeyOptions, PausedKey } from './interfaces/paused-key.interface.js';
export type {
  ScheduleInfo,
  ScheduleOptions,
  SchedulePayload,
  ScheduleSettings,
  ScheduleTimes,
} from './interfaces/schedule-options.interface.js';
export type { BulkFilter, RedriveFilter, ResultOptions } from './interfaces/bulk-filter.interface.js';
export {
  InvalidResultError,
  ResultNotKeptError,
  ResultTimeoutError,
  TaskFailedError,
  TaskNotFoundError,
} from './errors/result.errors.js';
export { InvalidScheduleError, ScheduleDeclaredError, UnknownScheduleError } from './errors/schedule.errors.js';
export { MemoryTaskStore } from './memory/memory-task-store.js';
export type { MemoryTaskStoreOptions } from './memory/memory-task-store.js';
export { TaskRequest } from './task-invoker.js';
export { TaskEvents } from './task-events.js';
export { TaskQueue } from './task-queue.js';
