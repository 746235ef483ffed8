import type { EntityManager } from 'typeorm';
import type { Enqueued, NewTask } from '../engine/task.js';
import type { Run, Statement, TextRow } from './database.js';
import { isConflict, sqlState } from './postgres-errors.js';
import { newTaskJson, text } from './task-row.js';

/** How many tasks, and how many characters of JSON, one statement may carry: PostgreSQL's values end at 1 GB. */
const maxTasks = 1_000;
const maxLength = 8 * 1024 * 1024;
/** A holder of a unique key may vanish between two looks; nobody is that unlucky this often. */
const maxTries = 100;

export interface EnqueueStatements {
  readonly enqueue: Statement;
  readonly holders: Statement;
}

/** Splits tasks into what one statement can carry. */
export function chunks(tasks: readonly NewTask[]): NewTask[][] {
  const all: NewTask[][] = [];
  let current: NewTask[] = [];
  let length = 0;
  for (const task of tasks) {
    if (current.length > 0 && (current.length >= maxTasks || length + task.payload.length > maxLength)) {
      all.push(current);
      current = [];
      length = 0;
    }
    current.push(task);
    length += task.payload.length;
  }
  if (current.length > 0) all.push(current);
  return all;
}

/**
 * Stores one chunk and finds out who stands where a unique key was taken. The holder may roll back or finish between
 * the two statements: then the place is free, and the rest is tried again.
 *
 * @param elsewhere Looks on another connection, for transactions whose snapshot is older than the holder. It looks first:
 * what a SERIALIZABLE transaction reads itself counts as a dependency on all that is written beside it, and may abort it.
 */
export async function enqueueChunk(
  run: Run,
  statements: EnqueueStatements,
  tasks: readonly NewTask[],
  elsewhere?: Run,
): Promise<Map<string, Enqueued>> {
  const results = new Map<string, Enqueued>();
  let open = tasks;
  for (let tries = 0; tries < maxTries; tries++) {
    const rows = await run(statements.enqueue, [json(open.map(newTaskJson))]);
    if (Number(rows[0]?.[0]) === open.length) {
      for (const { id } of open) results.set(id, { id, duplicate: false });
      return results;
    }
    for (const look of elsewhere ? [elsewhere, run] : [run]) {
      await findHolders(look, statements, open, results);
      open = open.filter(({ id }) => !results.has(id));
      if (open.length === 0) return results;
    }
  }
  throw new Error(`The unique keys of ${open.length} tasks changed hands ${maxTries} times while they were enqueued.`);
}

/** A caller's transaction as a way to run statements. Values come back as the driver's types, so all are cast to text. */
export function runIn(manager: EntityManager): Run {
  return async (statement, values) => {
    const rows = await manager.query<Record<string, unknown>[]>(statement.text, [...values]);
    return rows.map((row): TextRow => Object.values(row).map((value) => (value === null ? null : String(value))));
  };
}

/**
 * Stores a chunk in a transaction that sees an old snapshot (REPEATABLE READ or SERIALIZABLE). There PostgreSQL reports
 * a unique key that was taken since as a serialization failure, which would abort the caller's transaction: a savepoint
 * keeps it usable, and the holder is looked up outside the snapshot.
 */
export async function enqueueInSnapshot(
  manager: EntityManager,
  statements: EnqueueStatements,
  tasks: readonly NewTask[],
  elsewhere: Run,
): Promise<Map<string, Enqueued>> {
  const run = runIn(manager);
  const results = new Map<string, Enqueued>();
  for (const task of tasks) {
    for (let tries = 0; !results.has(task.id); tries++) {
      await manager.query('SAVEPOINT backie_enqueue');
      try {
        for (const [id, result] of await enqueueChunk(run, statements, [task], elsewhere)) results.set(id, result);
      } catch (error) {
        await manager.query('ROLLBACK TO SAVEPOINT backie_enqueue');
        if (!isConflict(error) || sqlState(error) === '40P01' || tries >= maxTries) throw error;
        await findHolders(elsewhere, statements, [task], results);
      }
      await manager.query('RELEASE SAVEPOINT backie_enqueue');
    }
  }
  return results;
}

async function findHolders(
  run: Run,
  statements: EnqueueStatements,
  tasks: readonly NewTask[],
  results: Map<string, Enqueued>,
): Promise<void> {
  const keys = tasks.map(({ id, queue, name, uniqueKey }) => JSON.stringify([id, queue, name, uniqueKey]));
  for (const [id, holder] of await run(statements.holders, [json(keys)])) {
    if (holder) results.set(text(id), { id: holder, duplicate: holder !== id });
  }
}

function json(items: readonly string[]): string {
  return `[${items.join(',')}]`;
}
