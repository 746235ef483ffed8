import type { ClaimedTask, NewTask, StoredError, Task, TaskAttempt, TaskReason, TaskState } from '../engine/task.js';
import type { Settlement, TaskOutcome } from '../engine/task-store.js';
import type { TextRow } from './text-query.js';

/** Between the engine's values and the text that goes to PostgreSQL and comes back. */

/**
 * The input of `enqueue`: neighbours that differ only in id, key and payload share the rest. Payloads are JSON text
 * already and go in as they are: they are parsed once, by PostgreSQL.
 */
export function newTasksJson(tasks: readonly NewTask[]): string {
  let text = '[';
  let head: NewTask | undefined;
  for (const task of tasks) {
    const key = task.uniqueKey === null ? 'null' : JSON.stringify(task.uniqueKey);
    if (head && sharesHead(head, task)) text += ',';
    else {
      text += `${head ? ']],' : ''}[${headJson(task)},[`;
      head = task;
    }
    const lane = task.lane == null ? '' : `,${JSON.stringify(task.lane)}`;
    text += `[${JSON.stringify(task.id)},${key},${task.payload}${lane}]`;
  }
  return `${text}${head ? ']]' : ''}]`;
}

/** The input of `enqueueOne`. */
export function newTaskValues(task: NewTask, wake: readonly string[]): unknown[] {
  const { id, payload, queue, name, priority, maxRetries, timeoutMs, due, handTo } = task;
  const [inMs, at] = 'inMs' in due ? [due.inMs, null] : [null, due.at.toISOString()];
  return [id, payload, queue, name, priority, maxRetries, timeoutMs, inMs, at, handTo ?? null, wake.includes(queue)];
}

function headJson(task: NewTask): string {
  const { queue, name, priority, maxRetries, timeoutMs, due, expiresInMs, unique, rateKey, lane } = task;
  const [inMs, at] = 'inMs' in due ? [due.inMs, null] : [null, due.at];
  const keyed = lane != null;
  // What waits for its turn is handed to nobody.
  const head: unknown[] = [queue, name, priority, maxRetries, timeoutMs, inMs, at, (!keyed && task.handTo) || null];
  if (expiresInMs !== undefined || unique || rateKey !== undefined || keyed) {
    const scope = unique?.scope === 'live' ? null : unique?.scope;
    head.push(expiresInMs ?? null, scope ?? null, unique?.windowMs ?? null, unique?.replace, unique?.movesDue);
    if (rateKey !== undefined || keyed) head.push(rateKey ?? null);
    if (keyed) head.push(task.laneLimit ?? 1);
  }
  return JSON.stringify(head);
}

function sharesHead(a: NewTask, b: NewTask): boolean {
  return (
    (a.due === b.due || ('inMs' in a.due && 'inMs' in b.due && a.due.inMs === b.due.inMs)) &&
    a.queue === b.queue &&
    a.name === b.name &&
    a.priority === b.priority &&
    a.maxRetries === b.maxRetries &&
    a.timeoutMs === b.timeoutMs &&
    a.handTo === b.handTo &&
    a.expiresInMs === b.expiresInMs &&
    a.unique === b.unique &&
    a.rateKey === b.rateKey &&
    a.laneLimit === b.laneLimit &&
    (a.lane == null) === (b.lane == null)
  );
}

/** For how many milliseconds a finished task stays, as the statements read it. */
export function keepValue(keepMs: number | null): number | 'Infinity' {
  if (keepMs === null) return 0;
  // JSON knows no Infinity.
  return keepMs === Infinity ? 'Infinity' : keepMs;
}

/** The input of `settle`. */
export function settlementsJson(settlements: readonly Settlement[]): string {
  return `[${settlements.map(settlementJson).join(',')}]`;
}

export function settlementJson(settlement: Settlement): string {
  const { id, queue, claimSeq } = settlement;
  switch (settlement.kind) {
    case 'finish':
      return JSON.stringify([
        id,
        queue,
        claimSeq,
        settlement.state,
        keepValue(settlement.keepMs),
        null,
        settlement.attempt,
        ...(settlement.deadLetter === undefined ? [] : [settlement.deadLetter]),
      ]);
    case 'retry':
    case 'snooze':
      return JSON.stringify([id, queue, claimSeq, null, null, settlement.delayMs, settlement.attempt]);
    case 'release':
      return JSON.stringify([id, queue, claimSeq, null, null, null, null]);
  }
}

/** The columns of `claim`; its times are microseconds. */
export function claimedTask(queue: string, row: TextRow): ClaimedTask {
  return {
    id: text(row[0]),
    name: text(row[1]),
    queue,
    payload: JSON.parse(text(row[2])) as unknown,
    priority: Number(row[3]),
    attempt: Number(row[4]),
    retries: Number(row[5]),
    maxRetries: numberOrNull(row[6]),
    timeoutMs: numberOrNull(row[7]),
    claimSeq: Number(row[8]),
    createdAt: Number(row[9]) / 1_000,
    scheduledAt: Number(row[10]) / 1_000,
    crashes: Number(row[11]),
    expiresInMs: numberOrNull(row[12]),
    lane: row[13] ?? null,
  };
}

interface StoredAttempt extends Omit<TaskAttempt, 'startedAt' | 'finishedAt'> {
  readonly startedAt: number;
  readonly finishedAt: number;
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

export function text(value: string | null | undefined): string {
  return value ?? '';
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
