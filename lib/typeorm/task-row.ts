import { type Lane, lanesOf } from '../engine/lane.js';
import type { TaskOutcome } from '../engine/task-store.js';
import type { ClaimedTask, StoredError, Task, TaskReason, TaskState } from '../engine/task.js';
import type { StoredAttempt } from './entities/task.entities.js';
import type { TextRow } from './text-query.js';

/** Between the text that comes back from PostgreSQL and the engine's values. */

/** The columns of `claim`; its times are microseconds. */
export function claimedTask(queue: string, row: TextRow): ClaimedTask {
  const createdAt = Number(row[3]) / 1_000;
  return {
    id: text(row[0]),
    name: text(row[1]),
    queue,
    payload: JSON.parse(text(row[2])) as unknown,
    priority: numberOr(0, row[5]),
    attempt: numberOr(1, row[6]),
    retries: numberOr(0, row[8]),
    maxRetries: numberOrNull(row[10]),
    timeoutMs: numberOrNull(row[11]),
    claimSeq: numberOr(1, row[7]),
    createdAt,
    scheduledAt: row[4] == null ? createdAt : Number(row[4]) / 1_000,
    crashes: numberOr(0, row[9]),
    expiresInMs: numberOrNull(row[12]),
    lane: row[13] ?? null,
  };
}

/** The columns of `find` and `list`. */
export function shownTask(row: TextRow): Task {
  const state = text(row[0]) as TaskState;
  const attempts = JSON.parse(text(row[18])) as StoredAttempt[];
  // Nothing is written down of an attempt that succeeds: the task's own columns tell all of it.
  if (state === 'done' && row[22] != null && row[15] != null) {
    const [number, startedAt, finishedAt] = [Number(row[9]), Number(row[15]), Number(row[2])];
    attempts.push({ number, outcome: 'done', workerId: row[22], startedAt, finishedAt });
  }
  return {
    state,
    workerId: row[1] ?? null,
    finishedAt: dateOrNull(row[2]),
    id: text(row[3]),
    queue: text(row[4]),
    name: text(row[5]),
    priority: Number(row[6]),
    scheduledAt: date(row[7]),
    claimSeq: Number(row[8]),
    attempt: Number(row[9]),
    retries: Number(row[10]),
    crashes: Number(row[11]),
    maxRetries: numberOrNull(row[12]),
    timeoutMs: numberOrNull(row[13]),
    createdAt: date(row[14]),
    startedAt: dateOrNull(row[15]),
    uniqueKey: row[16] ?? null,
    concurrencyKey: row[21] ?? null,
    payload: JSON.parse(text(row[17])) as unknown,
    attempts: attempts.map((attempt) => ({
      ...attempt,
      startedAt: new Date(attempt.startedAt),
      finishedAt: new Date(attempt.finishedAt),
    })),
    expiresAt: dateOrNull(row[19]),
    reason: (row[20] ?? null) as TaskReason | null,
    result: row[23] == null ? undefined : (JSON.parse(row[23]) as unknown),
    deadFrom: row[24] ?? null,
  };
}

/** The columns of `outcomes`. */
export function taskOutcome(row: TextRow): TaskOutcome {
  const [, name, queue, state, result, error, reason] = row;
  return {
    name: text(name),
    queue: text(queue),
    state: text(state) as TaskState,
    ...(result != null && { result: JSON.parse(result) as unknown }),
    ...(error != null && { error: JSON.parse(error) as StoredError }),
    ...(reason != null && { reason: reason as TaskReason }),
  };
}

/** The lanes of rows that begin with queue, name and lane, each once; one without a lane, or all null, has none. */
export function lanesOfRows(rows: readonly (readonly (string | null | undefined)[])[]): Lane[] {
  return lanesOf(rows.map(([queue, name, lane]) => ({ queue: text(queue), name: text(name), lane: lane ?? null })));
}

export function text(value: string | null | undefined): string {
  return value ?? '';
}

function numberOr(usual: number, value: string | null | undefined): number {
  return value == null ? usual : Number(value);
}

function numberOrNull(value: string | null | undefined): number | null {
  return value === null || value === undefined ? null : Number(value);
}

/** The statements give times as milliseconds since 1970, so that neither DateStyle nor time zone matters. */
function date(value: string | null | undefined): Date {
  return new Date(Number(value));
}

function dateOrNull(value: string | null | undefined): Date | null {
  return value === null || value === undefined ? null : date(value);
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Whether it can be the id of a task: a statement that is given another text fails. */
export function isUuid(id: string): boolean {
  return uuid.test(id);
}
