import { EntitySchema } from 'typeorm';
import type { CatchUp } from '../engine/schedule.js';
import type { FinishedState, TaskAttempt, TaskReason } from '../engine/task.js';
import { defaultSchema } from './identifiers.js';

/** A row of `task`: a live task. */
export interface TaskRow {
  id: string;
  queue: string;
  name: string;
  priority: number;
  scheduledAt: Date;
  /** Null while it is ready; of a finished one, the last it had. */
  workerId: string | null;
  /** Whether its worker claimed it ahead of a free slot; no crash counts against it then. */
  claimedAhead: boolean;
  /** Whether somebody awaits its end. */
  awaited: boolean;
  claimSeq: string;
  attempt: number;
  retries: number;
  crashes: number;
  maxRetries: number | null;
  timeoutMs: number | null;
  createdAt: Date;
  startedAt: Date | null;
  /** For how many milliseconds the task stays that is to be cancelled; 0: not at all. */
  cancelKeepMs: number | null;
  /** When it ends unless it has started before; null: never. */
  expiresAt: Date | null;
  uniqueKey: string | null;
  /** Null while it holds its key as long as it lives. */
  uniqueScope: string | null;
  /** Which bucket of its task's rate limit it takes from. */
  rateKey: string | null;
  /** Its concurrency key. */
  lane: string | null;
  laneLimit: number | null;
  /** When it is due, while it is parked because of its concurrency key; `scheduledAt` is infinite then. */
  dueAt: Date | null;
  /** When it was due before a rate limit without a token for it moved its `scheduledAt`. */
  sentOnFrom: Date | null;
  payload: unknown;
  attempts: TaskAttempt[];
}

/** A row of `finished_task`: a finished task that is kept. */
export interface FinishedTaskRow extends Omit<
  TaskRow,
  'cancelKeepMs' | 'claimedAhead' | 'awaited' | 'dueAt' | 'sentOnFrom'
> {
  state: FinishedState;
  finishedAt: Date;
  /** What the handler of a done task returned. */
  result: unknown;
  /** The queue that it failed on, if its `queue` is one of dead letters. */
  deadFrom: string | null;
  /** Until when it stays; the number Infinity for one that stays for ever. One whose time is over is as good as gone. */
  keptUntil: Date | number;
  reason: TaskReason | null;
}

/** A row of `worker`: a process that works. */
export interface WorkerRow {
  id: string;
  host: string;
  pid: number;
  version: string;
  queues: string[];
  startedAt: Date;
  leaseUntil: Date;
}

/** A row of `queue`: a queue of which more is known than the options say. */
export interface QueueRow {
  name: string;
  pausedAt: Date | null;
  /** What was set at run time, and wins; 0 stands for no limit. */
  concurrency: number | null;
  globalConcurrency: number | null;
  rateMax: number | null;
  ratePerMs: string | null;
  declaredGlobalConcurrency: number | null;
  declaredRateMax: number | null;
  declaredRatePerMs: string | null;
  /** Whether a task with a rate limit is at home there. */
  ratedTasks: boolean;
  limited: boolean;
}

/** A row of `task_setting`: a task's name of which more is known than the classes say. */
export interface TaskSettingRow {
  name: string;
  pausedAt: Date | null;
  queue: string | null;
  rateMax: number | null;
  ratePerMs: string | null;
}

/** A row of `rate_bucket`: what was taken from one, and when. */
export interface RateBucketRow {
  kind: 'queue' | 'task';
  name: string;
  key: string;
  takenAt: Date[];
  taken: number[];
  fullAt: Date;
  /** When the task that waits for it longest may start, as far as tasks were sent on. */
  lineAt: Date | null;
  lineId: string | null;
  linePriority: number | null;
}

/** A row of `unique_window`: a unique key that is held for a time. */
export interface UniqueWindowRow {
  queue: string;
  name: string;
  uniqueKey: string;
  /** The task that holds it, which may be gone. */
  taskId: string;
  until: Date;
}

/** A row of `paused_lane`: a concurrency key of a task on a queue that is paused. */
export interface PausedLaneRow {
  queue: string;
  name: string;
  lane: string;
  pausedAt: Date;
}

/** A row of `schedule`: one that a class declares, or that was made at run time. */
export interface ScheduleRow {
  name: string;
  task: string;
  queue: string;
  cron: string;
  timeZone: string;
  catchUp: CatchUp;
  payload: unknown;
  priority: number;
  maxRetries: number | null;
  timeoutMs: number | null;
  declared: boolean;
  revision: number;
  pausedAt: Date | null;
  nextAt: Date | null;
  lastAt: Date | null;
  createdAt: Date;
}

const timestamptz = { type: 'timestamptz' as const };
const nullable = { nullable: true };

const shared = {
  id: { type: 'uuid' as const, primary: true },
  queue: { type: 'text' as const, primary: true },
  name: { type: 'text' as const },
  priority: { type: 'smallint' as const },
  scheduledAt: { ...timestamptz, name: 'scheduled_at' },
  claimSeq: { type: 'bigint' as const, name: 'claim_seq' },
  attempt: { type: 'integer' as const },
  retries: { type: 'integer' as const },
  crashes: { type: 'integer' as const },
  maxRetries: { type: 'integer' as const, name: 'max_retries', ...nullable },
  timeoutMs: { type: 'integer' as const, name: 'timeout_ms', ...nullable },
  createdAt: { ...timestamptz, name: 'created_at' },
  startedAt: { ...timestamptz, name: 'started_at', ...nullable },
  expiresAt: { ...timestamptz, name: 'expires_at', ...nullable },
  workerId: { type: 'uuid' as const, name: 'worker_id', ...nullable },
  uniqueKey: { type: 'text' as const, name: 'unique_key', ...nullable },
  uniqueScope: { type: 'text' as const, name: 'unique_scope', ...nullable },
  rateKey: { type: 'text' as const, name: 'rate_key', ...nullable },
  lane: { type: 'text' as const, ...nullable },
  laneLimit: { type: 'integer' as const, name: 'lane_limit', ...nullable },
  payload: { type: 'jsonb' as const },
  attempts: { type: 'jsonb' as const },
};

/**
 * The tables as TypeORM entities, for queries and joins of an application's own. Read through them; writing is the
 * store's business. They are `synchronize: false`: the migrations alone shape these tables.
 *
 * @param options.schema The module's `schema`. @default 'backie'
 */
export function backieEntities(options: { readonly schema?: string } = {}) {
  const place = { schema: options.schema ?? defaultSchema, synchronize: false };
  return {
    task: new EntitySchema<TaskRow>({
      ...place,
      name: 'BackieTask',
      tableName: 'task',
      columns: {
        ...shared,
        claimedAhead: { type: 'boolean', name: 'claimed_ahead' },
        awaited: { type: 'boolean' },
        cancelKeepMs: { type: 'double precision', name: 'cancel_keep_ms', nullable: true },
        dueAt: { ...timestamptz, name: 'due_at', nullable: true },
        sentOnFrom: { ...timestamptz, name: 'sent_on_from', nullable: true },
      },
    }),
    finishedTask: new EntitySchema<FinishedTaskRow>({
      ...place,
      name: 'BackieFinishedTask',
      tableName: 'finished_task',
      columns: {
        ...shared,
        state: { type: 'text' },
        finishedAt: { ...timestamptz, name: 'finished_at' },
        result: { type: 'jsonb', ...nullable },
        deadFrom: { type: 'text', name: 'dead_from', ...nullable },
        keptUntil: { ...timestamptz, name: 'kept_until', primary: true },
        reason: { type: 'text', nullable: true },
      },
    }),
    worker: new EntitySchema<WorkerRow>({
      ...place,
      name: 'BackieWorker',
      tableName: 'worker',
      columns: {
        id: { type: 'uuid', primary: true },
        host: { type: 'text' },
        pid: { type: 'integer' },
        version: { type: 'text' },
        queues: { type: 'jsonb' },
        startedAt: { ...timestamptz, name: 'started_at' },
        leaseUntil: { ...timestamptz, name: 'lease_until' },
      },
    }),
    queue: new EntitySchema<QueueRow>({
      ...place,
      name: 'BackieQueue',
      tableName: 'queue',
      columns: {
        name: { type: 'text', primary: true },
        pausedAt: { ...timestamptz, name: 'paused_at', nullable: true },
        concurrency: { type: 'integer', nullable: true },
        globalConcurrency: { type: 'integer', name: 'global_concurrency', nullable: true },
        rateMax: { type: 'integer', name: 'rate_max', nullable: true },
        ratePerMs: { type: 'bigint', name: 'rate_per_ms', nullable: true },
        declaredGlobalConcurrency: { type: 'integer', name: 'declared_global_concurrency', nullable: true },
        declaredRateMax: { type: 'integer', name: 'declared_rate_max', nullable: true },
        declaredRatePerMs: { type: 'bigint', name: 'declared_rate_per_ms', nullable: true },
        ratedTasks: { type: 'boolean', name: 'rated_tasks' },
        limited: { type: 'boolean' },
      },
    }),
    taskSetting: new EntitySchema<TaskSettingRow>({
      ...place,
      name: 'BackieTaskSetting',
      tableName: 'task_setting',
      columns: {
        name: { type: 'text', primary: true },
        pausedAt: { ...timestamptz, name: 'paused_at', nullable: true },
        queue: { type: 'text', nullable: true },
        rateMax: { type: 'integer', name: 'rate_max', nullable: true },
        ratePerMs: { type: 'bigint', name: 'rate_per_ms', nullable: true },
      },
    }),
    rateBucket: new EntitySchema<RateBucketRow>({
      ...place,
      name: 'BackieRateBucket',
      tableName: 'rate_bucket',
      columns: {
        kind: { type: 'text', primary: true },
        name: { type: 'text', primary: true },
        key: { type: 'text', primary: true },
        takenAt: { ...timestamptz, name: 'taken_at', array: true },
        taken: { type: 'integer', array: true },
        fullAt: { ...timestamptz, name: 'full_at' },
        lineAt: { ...timestamptz, name: 'line_at', nullable: true },
        lineId: { type: 'uuid', name: 'line_id', nullable: true },
        linePriority: { type: 'smallint', name: 'line_priority', nullable: true },
      },
    }),
    uniqueWindow: new EntitySchema<UniqueWindowRow>({
      ...place,
      name: 'BackieUniqueWindow',
      tableName: 'unique_window',
      columns: {
        queue: { type: 'text', primary: true },
        name: { type: 'text', primary: true },
        uniqueKey: { type: 'text', name: 'unique_key', primary: true },
        taskId: { type: 'uuid', name: 'task_id' },
        until: { ...timestamptz },
      },
    }),
    pausedLane: new EntitySchema<PausedLaneRow>({
      ...place,
      name: 'BackiePausedLane',
      tableName: 'paused_lane',
      columns: {
        queue: { type: 'text', primary: true },
        name: { type: 'text', primary: true },
        lane: { type: 'text', primary: true },
        pausedAt: { ...timestamptz, name: 'paused_at' },
      },
    }),
    schedule: new EntitySchema<ScheduleRow>({
      ...place,
      name: 'BackieSchedule',
      tableName: 'schedule',
      columns: {
        name: { type: 'text', primary: true },
        task: { type: 'text' },
        queue: { type: 'text' },
        cron: { type: 'text' },
        timeZone: { type: 'text', name: 'time_zone' },
        catchUp: { type: 'text', name: 'catch_up' },
        payload: { type: 'jsonb' },
        priority: { type: 'smallint' },
        maxRetries: { type: 'integer', name: 'max_retries', nullable: true },
        timeoutMs: { type: 'integer', name: 'timeout_ms', nullable: true },
        declared: { type: 'boolean' },
        revision: { type: 'integer' },
        pausedAt: { ...timestamptz, name: 'paused_at', nullable: true },
        nextAt: { ...timestamptz, name: 'next_at', nullable: true },
        lastAt: { ...timestamptz, name: 'last_at', nullable: true },
        createdAt: { ...timestamptz, name: 'created_at' },
      },
    }),
  };
}
