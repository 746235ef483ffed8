import type { AttemptReport } from '../engine/task-store.js';
import {
  type AttemptOutcome,
  briefMessageLength,
  fullErrors,
  type NewTask,
  rememberedAttempts,
  type StoredError,
  type TaskReason,
  type TaskState,
  type UniqueTerms,
} from '../engine/task.js';
import { InvalidOptionsError } from '../errors/configuration.errors.js';
import type { HeapItem } from './heap.js';

/** A task as the memory holds it: its row. Times are milliseconds since 1970; nothing of it leaves the store. */
export interface StoredTask extends HeapItem {
  readonly id: string;
  readonly name: string;
  queue: string;
  /** JSON text, parsed anew for everyone who looks: nobody shares an object with anybody. */
  payload: string;
  priority: number;
  readonly uniqueKey: string | null;
  readonly uniqueScope: UniqueTerms['scope'];
  maxRetries: number | null;
  timeoutMs: number | null;
  rateKey: string | null;
  readonly createdAt: number;
  /** Infinity: never. */
  expiresAt: number;
  reason: TaskReason | null;
  /** The concurrency key, or null. */
  lane: string | null;
  laneLimit: number | null;
  /** It waits for a place in its lane, and no claim sees it. */
  parked: boolean;
  state: TaskState;
  attempt: number;
  retries: number;
  crashes: number;
  claimSeq: number;
  workerId: string | null;
  /** The last one that held it. */
  lastWorkerId: string | null;
  claimedAhead: boolean;
  scheduledAt: number;
  startedAt: number | null;
  finishedAt: number | null;
  /** Until when a finished one stays; Infinity for ever. */
  keptUntil: number;
  attempts: StoredAttempt[];
  /** Somebody wants the running task cancelled, and has said how long it is to stay then. */
  cancelRequest: { readonly keepMs: number | null } | null;
  awaited: boolean;
  /** JSON text. */
  result: string | null;
  deadFrom: string | null;
}

export interface StoredAttempt {
  readonly number: number;
  readonly outcome: AttemptOutcome;
  readonly workerId: string;
  readonly startedAt: number;
  readonly finishedAt: number;
  readonly error?: StoredError;
}

export function newStoredTask(task: NewTask, now: number): StoredTask {
  return {
    id: task.id,
    name: task.name,
    queue: task.queue,
    payload: task.payload,
    priority: task.priority,
    uniqueKey: task.uniqueKey,
    uniqueScope: task.unique?.scope ?? 'live',
    rateKey: task.rateKey ?? null,
    maxRetries: task.maxRetries,
    timeoutMs: task.timeoutMs,
    createdAt: now,
    expiresAt: now + (task.expiresInMs ?? Infinity),
    reason: null,
    lane: task.lane ?? null,
    laneLimit: task.lane == null ? null : (task.laneLimit ?? 1),
    parked: task.lane != null,
    state: 'ready',
    attempt: 0,
    retries: 0,
    crashes: 0,
    claimSeq: 0,
    workerId: null,
    lastWorkerId: null,
    claimedAhead: false,
    scheduledAt: dueTime(task, now),
    startedAt: null,
    finishedAt: null,
    keptUntil: Infinity,
    attempts: [],
    cancelRequest: null,
    awaited: false,
    result: null,
    deadFrom: null,
    place: -1,
  };
}

function dueTime({ name, due }: NewTask, now: number): number {
  const time = 'at' in due ? due.at.getTime() : now + due.inMs;
  if (Number.isFinite(time)) return time;
  throw new InvalidOptionsError(`The due time of task ${JSON.stringify(name)} is not a time. Pass a valid one.`);
}

/**
 * Writes down how the attempt of a running task ended. The oldest attempts beyond the limit are forgotten, and the errors
 * of old ones shortened.
 */
export function appendAttempt(task: StoredTask, report: AttemptReport, now: number): void {
  const attempt: StoredAttempt = {
    number: report.number,
    outcome: report.outcome,
    workerId: task.workerId ?? '',
    startedAt: task.startedAt ?? now,
    finishedAt: now,
    ...(report.error && { error: structuredClone(report.error) }),
  };
  const before = task.attempts.map((one, index, all) => (index === all.length - fullErrors ? briefly(one) : one));
  task.attempts = [...before, attempt].slice(-rememberedAttempts);
}

function briefly(attempt: StoredAttempt): StoredAttempt {
  if (!attempt.error) return attempt;
  const { name, message } = attempt.error;
  return { ...attempt, error: { name, message: Array.from(message).slice(0, briefMessageLength).join('') } };
}

/** Whether a task has not started. One that was given back by a worker that did not start it has not. */
export function isUnstarted(task: StoredTask): boolean {
  return task.state === 'ready' && task.attempt === 0;
}

/** Whether a task has not started, and may not any more. */
export function isExpired(task: StoredTask, now: number): boolean {
  return task.expiresAt <= now && isUnstarted(task);
}

/** Gives a task that waits what a new one of the same key says; its place in line is the caller's business. */
export function replaceBy(task: StoredTask, next: StoredTask): void {
  task.payload = next.payload;
  task.priority = next.priority;
  task.rateKey = next.rateKey;
  task.maxRetries = next.maxRetries;
  task.timeoutMs = next.timeoutMs;
  task.expiresAt = next.expiresAt;
  task.lane = next.lane;
  task.laneLimit = next.laneLimit;
  task.parked = next.parked;
}
