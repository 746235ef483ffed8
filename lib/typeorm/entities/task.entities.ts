import { EntitySchema } from 'typeorm';
import type { FinishedState, TaskAttempt, TaskReason } from '../../engine/task.js';
import { nullable, type Place, timestamptz } from './columns.js';

/** An attempt as a row keeps it; its times are milliseconds since 1970. */
export interface StoredAttempt extends Omit<TaskAttempt, 'startedAt' | 'finishedAt'> {
  readonly startedAt: number;
  readonly finishedAt: number;
}

/** A row of `task`: a live task. */
export interface TaskRow {
  id: string;
  queue: string;
  name: string;
  priority: number;
  /** The number Infinity for one that is parked because of its concurrency key. */
  scheduledAt: Date | number;
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
  /** When it is due, while it is parked. */
  dueAt: Date | null;
  /** When it was due before a rate limit without a token for it moved its `scheduledAt`. */
  sentOnFrom: Date | null;
  payload: unknown;
  attempts: StoredAttempt[];
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

/** Of live and finished tasks. */
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

export function taskEntities(place: Place) {
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
  };
}
