import type { EntityManager } from 'typeorm';
import type { NewTask, Stored } from '../engine/task.js';
import type { Run } from './database.js';
import type { EnqueueStatements } from './enqueue-statements.js';
import { enqueueChunk, isKept, maxTries, Traces } from './enqueue.js';
import { isConflict, sqlState } from './postgres-errors.js';
import type { TextRow } from './text-query.js';
import { findHolders, freeExpired } from './unique-holders.js';

/** A caller's transaction as a way to run statements. Values come back as the driver's types, so all are cast to text. */
export function runIn(manager: EntityManager): Run {
  return async (statement, values) => {
    const rows = await manager.query<Record<string, unknown>[]>(statement.text, [...values]);
    return rows.map((row): TextRow => Object.values(row).map((value) => (value === null ? null : String(value))));
  };
}

/**
 * Stores a chunk of which some may replace others in a caller's transaction, which may take its time. A holder that starts
 * between the statement's look and its turn is locked, though it is not replaced, and its worker would wait for the
 * transaction with all that it has to record. So that is undone; the next look finds it started, and leaves it alone.
 */
export async function enqueueReplacing(
  manager: EntityManager,
  statements: EnqueueStatements,
  tasks: readonly NewTask[],
  wake: readonly string[],
  traces: Traces,
): Promise<Map<string, Stored>> {
  for (let tries = 0; ; tries++) {
    const own = new Traces();
    await manager.query('SAVEPOINT backie_enqueue');
    const results = await enqueueChunk(runIn(manager), statements, tasks, wake, own);
    const again = own.lockedInVain && tries < maxTries;
    if (again) await manager.query('ROLLBACK TO SAVEPOINT backie_enqueue');
    await manager.query('RELEASE SAVEPOINT backie_enqueue');
    if (again) continue;
    traces.left.push(...own.left);
    return results;
  }
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
  traces: Traces,
  elsewhere: Run,
): Promise<Map<string, Stored>> {
  const run = runIn(manager);
  const results = new Map<string, Stored>();
  for (const task of tasks) {
    for (let tries = 0; !results.has(task.id); tries++) {
      await manager.query('SAVEPOINT backie_enqueue');
      try {
        for (const [id, result] of await enqueueChunk(run, statements, [task], wake, traces, elsewhere))
          results.set(id, result);
        // What was only looked at must not stay locked: its worker would have to wait for this transaction.
        if (task.unique?.replace && isKept(results.get(task.id))) {
          await manager.query('ROLLBACK TO SAVEPOINT backie_enqueue');
        }
      } catch (error) {
        await manager.query('ROLLBACK TO SAVEPOINT backie_enqueue');
        if (!isConflict(error) || sqlState(error) === '40P01' || tries >= maxTries) throw error;
        const waiting = await findHolders(elsewhere, statements, [task], results);
        // It could be replaced, but not by a transaction that does not see it as it is: that is for the caller to retry.
        if (waiting) throw error;
        if (!results.has(task.id)) await freeExpired(elsewhere, statements, [task]);
      }
      await manager.query('RELEASE SAVEPOINT backie_enqueue');
    }
  }
  return results;
}
