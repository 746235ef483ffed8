import type { EntityManager } from 'typeorm';
import { type Lane, laneOf } from '../engine/lane.js';
import type { NewTask, Stored } from '../engine/task.js';
import type { Run, Statement } from './database.js';
import { isConflict, sqlState } from './postgres-errors.js';
import { newTasksJson } from './task-input.js';
import { text } from './task-row.js';
import type { TextRow } from './text-query.js';
import { addFollowers, type EnqueueWay, enqueueWay, mergeByKey } from './unique-enqueue.js';

/** How many tasks, and how many characters of JSON, one statement may carry: PostgreSQL's values end at 1 GB. */
const maxTasks = 1_000;
const maxLength = 8 * 1024 * 1024;
/** A holder of a unique key may vanish between two looks; nobody is that unlucky this often. */
const maxTries = 100;

export interface EnqueueStatements {
  readonly enqueue: Statement;
  readonly enqueueReplacing: Statement;
  readonly enqueueInWindow: Statement;
  readonly holders: Statement;
  readonly windowHolders: Statement;
  readonly freeExpired: Statement;
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

/** What else storing has brought about. */
export class Traces {
  /** Lanes that replaced tasks have left; somebody there may have their place. */
  readonly left: Lane[] = [];
  /** Whether a holder was locked that was not replaced after all, having started just then. */
  lockedInVain = false;
}

/** Who is asked who holds a key. */
interface Looks {
  /** The transaction that the tasks are stored in, or none in particular. */
  readonly run: Run;
  /**
   * Looks on another connection, for transactions whose snapshot is older than the holder. It looks first: what a
   * SERIALIZABLE transaction reads itself counts as a dependency on all that is written beside it, and may abort it.
   */
  readonly elsewhere?: Run;
}

/**
 * Stores one chunk and finds out who stands where a unique key was taken. The holder may roll back, finish or expire
 * between the two statements: then the place is free, and the rest is tried again.
 *
 * @param wake Queues whose workers are told at the commit.
 * @param traces Filled.
 * @param elsewhere Given for a transaction that sees an old snapshot.
 */
export async function enqueueChunk(
  run: Run,
  statements: EnqueueStatements,
  tasks: readonly NewTask[],
  wake: readonly string[],
  traces: Traces,
  elsewhere?: Run,
): Promise<Map<string, Stored>> {
  const results = new Map<string, Stored>();
  const told = new Set<string>();
  const looks: Looks = { run, ...(elsewhere && { elsewhere }) };
  const storeKept = (open: readonly NewTask[]) => insertKept(run, statements.enqueue, open, wake, results);
  if (!tasks.some(({ unique }) => unique)) {
    await untilResolved(storeKept, looks, statements, tasks, results);
    return results;
  }
  const ways = { kept: storeKept, replacing: storeByTerms, inWindow: storeByTerms };
  for (const way of ['kept', 'replacing', 'inWindow'] as const) {
    const own = tasks.filter((task) => enqueueWay(task) === way);
    const merged = way === 'kept' ? own.map((task) => ({ task, followers: [] })) : mergeByKey(own);
    const leaders = merged.map(({ task }) => task);
    await untilResolved((open) => ways[way](open, way), looks, statements, leaders, results);
    // Only a look has found these: their holders were still to be replaced when the statement began.
    traces.lockedInVain ||= way === 'replacing' && leaders.some(({ id }) => !told.has(id) && isKept(results.get(id)));
    addFollowers(merged, results);
  }
  return results;

  async function storeByTerms(open: readonly NewTask[], way: EnqueueWay): Promise<void> {
    const values = [newTasksJson(open), wake];
    const rows =
      way === 'replacing'
        ? await run(statements.enqueueReplacing, [...values, elsewhere === undefined])
        : await run(statements.enqueueInWindow, values);
    const byId = new Map(open.map((task) => [task.id, task]));
    for (const [id, holder, replaced, , leftLane, inVain] of rows) {
      const duplicate = holder !== id;
      told.add(text(id));
      const task = byId.get(text(id));
      const lane = task && laneOf({ ...task, lane: leftLane ?? null });
      if (lane) traces.left.push(lane);
      traces.lockedInVain ||= isTrue(inVain);
      results.set(text(id), { id: text(holder), duplicate, ...(isTrue(replaced) && { replaced: true }) });
    }
  }
}

async function insertKept(
  run: Run,
  statement: Statement,
  tasks: readonly NewTask[],
  wake: readonly string[],
  results: Map<string, Stored>,
): Promise<void> {
  const [row] = await run(statement, [newTasksJson(tasks), wake]);
  const handedAt = Number(row?.[2]);
  for (const id of row?.[1]?.split(',') ?? []) results.set(id, { id, duplicate: false, handedAt });
  if (Number(row?.[0]) !== tasks.length) return;
  for (const { id } of tasks) if (!results.has(id)) results.set(id, { id, duplicate: false });
}

/** @param store Stores tasks, and notes what has come of those of which it knows. */
async function untilResolved(
  store: (open: readonly NewTask[]) => Promise<void>,
  { run, elsewhere }: Looks,
  statements: EnqueueStatements,
  tasks: readonly NewTask[],
  results: Map<string, Stored>,
): Promise<void> {
  let open = tasks;
  for (let tries = 0; open.length > 0; tries++) {
    if (tries >= maxTries) {
      throw new Error(
        `The unique keys of ${open.length} tasks changed hands ${maxTries} times while they were enqueued.`,
      );
    }
    await store(open);
    open = open.filter(({ id }) => !results.has(id));
    for (const look of elsewhere ? [elsewhere, run] : [run]) {
      if (open.length === 0) return;
      await findHolders(look, statements, open, results);
      open = open.filter(({ id }) => !results.has(id));
      if (open.length > 0) await freeExpired(look, statements, open);
    }
  }
}

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

/** @returns Whether one holder has not started, so that it is to be replaced, not to be kept. */
async function findHolders(
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

async function freeExpired(run: Run, statements: EnqueueStatements, tasks: readonly NewTask[]): Promise<void> {
  const unique = tasks.filter((task) => task.uniqueKey !== null && enqueueWay(task) !== 'inWindow');
  if (unique.length > 0) await run(statements.freeExpired, [keysJson(unique)]);
}

function keysJson(tasks: readonly NewTask[]): string {
  const keys = tasks.map(({ id, queue, name, uniqueKey }) => JSON.stringify([id, queue, name, uniqueKey]));
  return `[${keys.join(',')}]`;
}

function isKept(stored: Stored | undefined): boolean {
  return stored !== undefined && stored.duplicate && !stored.replaced;
}

/** The engine's connections give booleans as PostgreSQL writes them, a caller's as JavaScript does. */
function isTrue(value: string | null | undefined): boolean {
  return value === 't' || value === 'true';
}
