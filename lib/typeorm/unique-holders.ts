import type { NewTask, Stored } from '../engine/task.js';
import type { Run } from './database.js';
import type { EnqueueStatements } from './enqueue-statements.js';
import { text } from './task-row.js';
import { enqueueWay } from './unique-enqueue.js';

/**
 * Finds out who stands where these could not be stored; what it finds it adds to `results`.
 *
 * @returns Whether one holder has not started, so that it is to be replaced, not to be kept.
 */
export async function findHolders(
  run: Run,
  statements: EnqueueStatements,
  tasks: readonly NewTask[],
  results: Map<string, Stored>,
): Promise<boolean> {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  let waiting = false;
  for (const inWindow of [false, true]) {
    const own = tasks.filter((task) => (enqueueWay(task) === 'inWindow') === inWindow);
    if (own.length === 0) continue;
    const statement = inWindow ? statements.windowHolders : statements.holders;
    for (const [id, holder, worker, createdAt, started] of await run(statement, [keysJson(own)])) {
      if (results.has(text(id))) continue;
      const task = byId.get(text(id));
      const duplicate = holder !== id;
      if (duplicate && task?.unique?.replace && !isTrue(started)) {
        waiting = true;
        continue;
      }
      const handed = !duplicate && worker != null && worker === task?.handTo;
      results.set(text(id), { id: text(holder), duplicate, ...(handed && { handedAt: Number(createdAt) }) });
    }
  }
  return waiting;
}

/** Frees the keys of tasks that have expired, but that nobody has ended yet. */
export async function freeExpired(run: Run, statements: EnqueueStatements, tasks: readonly NewTask[]): Promise<void> {
  const unique = tasks.filter((task) => task.uniqueKey !== null && enqueueWay(task) !== 'inWindow');
  if (unique.length > 0) await run(statements.freeExpired, [keysJson(unique)]);
}

function keysJson(tasks: readonly NewTask[]): string {
  const keys = tasks.map(({ id, queue, name, uniqueKey }) => JSON.stringify([id, queue, name, uniqueKey]));
  return `[${keys.join(',')}]`;
}

/** The engine's connections give booleans as PostgreSQL writes them, a caller's as JavaScript does. */
export function isTrue(value: string | null | undefined): boolean {
  return value === 't' || value === 'true';
}
