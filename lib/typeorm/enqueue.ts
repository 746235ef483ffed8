import { type Lane, laneOf } from '../engine/lane.js';
import type { NewTask, Stored } from '../engine/task.js';
import type { Run, Statement } from './database.js';
import type { EnqueueStatements } from './enqueue-statements.js';
import { newTasksJson } from './task-input.js';
import { text } from './task-row.js';
import { addFollowers, type EnqueueWay, enqueueWay, mergeByKey } from './unique-enqueue.js';
import { findHolders, freeExpired, isTrue } from './unique-holders.js';

/** How many tasks, and how many characters of JSON, one statement may carry: PostgreSQL's values end at 1 GB. */
const maxTasks = 1_000;
const maxLength = 8 * 1024 * 1024;
/** A holder of a unique key may vanish between two looks; nobody is that unlucky this often. */
export const maxTries = 100;

/** Splits tasks into what one statement can carry. */
export function chunks(tasks: readonly NewTask[]): NewTask[][] {
  const all: NewTask[][] = [];
  let current: NewTask[] | undefined;
  let length = 0;
  for (const task of tasks) {
    if (current && current.length < maxTasks && length + task.payload.length <= maxLength) current.push(task);
    else {
      length = 0;
      all.push((current = [task]));
    }
    length += task.payload.length;
  }
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

/** @returns What came of the tasks of all parts. */
export async function enqueueParts(
  parts: readonly NewTask[][],
  store: (chunk: NewTask[]) => Promise<Map<string, Stored>>,
): Promise<Map<string, Stored>> {
  const results = new Map<string, Stored>();
  for (const chunk of parts) for (const [id, result] of await store(chunk)) results.set(id, result);
  return results;
}

/**
 * To be called for tasks that may have been stored before. A live one shows itself by its primary key, a finished one only
 * among the finished. It is looked for after the insert, in the same transaction: a task may finish between a look and an
 * insert, but not come back after both.
 */
export async function takeBackFinished(
  run: Run,
  { takeBack }: { readonly takeBack: Statement },
  results: Map<string, Stored>,
): Promise<void> {
  for (const [taken] of await run(takeBack, [[...results.keys()]])) {
    const id = text(taken);
    results.set(id, { id, duplicate: false });
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

/** Whether another stands in its place, and was left as it is. */
export function isKept(stored: Stored | undefined): boolean {
  return stored !== undefined && stored.duplicate && !stored.replaced;
}
