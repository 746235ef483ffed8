import { EntitySchema } from 'typeorm';
import { type Place, timestamptz } from './columns.js';

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

/** Limits and pauses of queues and tasks, and what was taken of rate limits. */
export function limitEntities(place: Place) {
  return {
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
  };
}
