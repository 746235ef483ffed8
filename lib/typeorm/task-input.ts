import type { Settlement } from '../engine/task-store.js';
import type { NewTask } from '../engine/task.js';
import { sharesHead } from './new-tasks.js';

/** Between the engine's values and the text that goes to PostgreSQL. */

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
export function newTaskValues(task: NewTask, wake: readonly string[], ahead: boolean): unknown[] {
  return [task.id, task.payload, ...sameValues(task), task.handTo ?? null, wake.includes(task.queue), ahead];
}

/** The input of `enqueueQuietly`, for tasks that differ from `head` in nothing but id and payload. */
export function bulkValues(head: NewTask, tasks: readonly NewTask[]): unknown[] {
  const ids = tasks.map(({ id }) => id).join(',');
  const payloads = tasks.map(({ payload }) => payload).join(',');
  return [`{${ids}}`, `[${payloads}]`, ...sameValues(head)];
}

function sameValues({ queue, name, priority, maxRetries, timeoutMs, due }: NewTask): unknown[] {
  const [inMs, at] = 'inMs' in due ? [due.inMs, null] : [null, due.at.toISOString()];
  return [queue, name, priority, maxRetries, timeoutMs, inMs, at];
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

/** For how many milliseconds a finished task stays, as the statements read it. */
export function keepValue(keepMs: number | null): number | 'Infinity' {
  if (keepMs === null) return 0;
  // JSON knows no Infinity.
  return keepMs === Infinity ? 'Infinity' : keepMs;
}

/** The same of many, by queue. */
export function keepJson(keepMs: ReadonlyMap<string, number | null>): string {
  return JSON.stringify(Object.fromEntries([...keepMs].map(([queue, ms]) => [queue, keepValue(ms)])));
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
