import type { EntityManager } from 'typeorm';
import type { NewTask, Stored } from '../engine/task.js';
import type { Run, Statement } from './database.js';
import { isConflict, sqlState } from './postgres-errors.js';
import { newTasksJson, text } from './task-row.js';
import type { TextRow } from './text-query.js';

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
 * @param wake Queues whose workers are told at the commit.
 * @param elsewhere Looks on another connection, for transactions whose snapshot is older than the holder. It looks first:
 * what a SERIALIZABLE transaction reads itself counts as a dependency on all that is written beside it, and may abort it.
 */
export async function enqueueChunk(
  run: Run,
  statements: EnqueueStatements,
  tasks: readonly NewTask[],
  wake: readonly string[],
  elsewhere?: Run,
): Promise<Map<string, Stored>> {
  const results = new Map<string, Stored>();
  let open = tasks;
  for (let tries = 0; tries < maxTries; tries++) {
    const [row] = await run(statements.enqueue, [newTasksJson(open), wake]);
    const handedAt = Number(row?.[2]);
    for (const id of row?.[1]?.split(',') ?? []) results.set(id, { id, duplicate: false, handedAt });
    if (Number(row?.[0]) === open.length) {
      for (const { id } of open) if (!results.has(id)) results.set(id, { id, duplicate: false });
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
  wake: readonly string[],
  elsewhere: Run,
): Promise<Map<string, Stored>> {
  const run = runIn(manager);
  const results = new Map<string, Stored>();
  for (const task of tasks) {
    for (let tries = 0; !results.has(task.id); tries++) {
      await manager.query('SAVEPOINT backie_enqueue');
      try {
        for (const [id, result] of await enqueueChunk(run, statements, [task], wake, elsewhere))
          results.set(id, result);
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
  results: Map<string, Stored>,
): Promise<void> {
  const keys = tasks.map(({ id, queue, name, uniqueKey }) => JSON.stringify([id, queue, name, uniqueKey]));
  const handTo = new Map(tasks.map((task) => [task.id, task.handTo]));
  for (const [id, holder, worker, createdAt] of await run(statements.holders, [json(keys)])) {
    if (results.has(text(id))) continue;
    const handed = id === holder && worker != null && worker === handTo.get(text(id));
    const duplicate = holder !== id;
    results.set(text(id), { id: text(holder), duplicate, ...(handed && { handedAt: Number(createdAt) }) });
  }
}

function json(items: readonly string[]): string {
  return `[${items.join(',')}]`;
}
