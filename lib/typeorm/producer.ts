import type { EntityManager } from 'typeorm';
import { type Lane, lanesOf } from '../engine/lane.js';
import type { NewTask, Stored } from '../engine/task.js';
import { InvalidOptionsError } from '../errors/configuration.errors.js';
import { UniqueKeyPendingError } from '../errors/store.errors.js';
import type { Database, Run, Statement } from './database.js';
import {
  chunks,
  enqueueChunk,
  type EnqueueStatements,
  enqueueInSnapshot,
  enqueueReplacing,
  runIn,
  Traces,
} from './enqueue.js';
import { Permits } from './permits.js';
import { isLockTimeout, isUniqueViolation } from './postgres-errors.js';
import { newTasksJson, newTaskValues } from './task-input.js';
import { text } from './task-row.js';
import { TransactionWatch } from './transaction-watch.js';
import { WakeThrottle } from './wake-throttle.js';

export interface ProducerStatements extends EnqueueStatements {
  readonly enqueueFresh: Statement;
  readonly enqueueBulk: Statement;
  readonly enqueueOne: Statement;
  readonly enqueueUnique: Statement;
  readonly enqueueReplacingSoon: Statement;
  readonly enqueueInWindowSoon: Statement;
  readonly takeBack: Statement;
  readonly notify: Statement;
}

/**
 * How many of the engine's connections producers may use at once. A unique key whose holder has not committed yet makes
 * its enqueue wait for as long as that takes: neither other enqueues nor the workers may wait along.
 */
const producerConnections = 2;
const uniqueConnections = 2;
const longestUniqueWaitMs = 60_000;

/** Stores tasks, in a transaction of its own or of the caller's, and tells the workers of other processes. */
export class Producer {
  private readonly permits = new Permits(producerConnections);
  private readonly uniquePermits = new Permits(uniqueConnections);
  private readonly watch = new TransactionWatch();
  private readonly throttle = new WakeThrottle((dueIn) => this.notify(dueIn));

  constructor(
    private readonly database: Database,
    private readonly statements: ProducerStatements,
    /** Follows each commit of tasks with concurrency keys; never rejects. */
    private readonly admit: (lanes: readonly Lane[]) => Promise<void>,
  ) {}

  /** @param again These may have been stored before: ids that are live or finished stay as they are. */
  async enqueue(tasks: readonly NewTask[], scope: unknown, again: boolean): Promise<Stored[]> {
    const [only] = tasks;
    if (!only) return [];
    if (tasks.length === 1 && scope === undefined && !again && isPlain(only)) return [await this.storeOne(only)];
    if (scope === undefined && !again && !tasks.some(isSpecial) && (await this.storeBulk(tasks))) {
      return tasks.map(({ id }) => ({ id, duplicate: false }));
    }
    const results =
      scope === undefined ? await this.storeHere(tasks, again) : await this.storeIn(entityManager(scope), tasks, again);
    return tasks.map(({ id }) => results.get(id) ?? { id, duplicate: false });
  }

  /** In a transaction of the engine's own. @returns What came of each, and the lanes to admit after the commit. */
  async enqueueBy(run: Run, tasks: readonly NewTask[]): Promise<{ stored: Stored[]; lanes: Lane[] }> {
    // Those few have each a NOTIFY of their own, if not another one of the same transaction.
    const wake = [...new Set(tasks.map(({ queue }) => queue))];
    // A key that another transaction holds must not keep the engine waiting: it fails soon, to be tried again.
    const statements = tasks.some(isUnique) ? this.impatient : this.general;
    const traces = new Traces();
    const store = (chunk: NewTask[]) => enqueueChunk(run, statements, chunk, wake, traces);
    const results = await inParts(chunks(inKeyOrder(tasks)), store);
    const stored = tasks.map(({ id }) => results.get(id) ?? { id, duplicate: false });
    return { stored, lanes: [...lanesOf(tasks), ...traces.left] };
  }

  afterCommit(scope: unknown, effect: () => void): void {
    if (scope === undefined) effect();
    else this.watch.afterCommit(entityManager(scope), effect);
  }

  /** Tells the workers of other processes. */
  tell(queue: string, inMs: number): void {
    this.throttle.tell(queue, inMs);
  }

  stop(): void {
    this.watch.stop();
    this.throttle.stop();
  }

  private async storeHere(tasks: readonly NewTask[], again: boolean): Promise<Map<string, Stored>> {
    const wake = this.toWake(tasks);
    const unique = tasks.some(isUnique);
    const traces = new Traces();
    const store = (statements: EnqueueStatements) => this.storeWith(statements, tasks, wake, traces, again);
    const results = unique
      ? await this.storeUnique(store)
      : await this.permits.with(() => (again ? store(this.general) : this.storeFresh(store)));
    this.tellLater(tasks, results, wake);
    if (traces.left.length > 0 || tasks.some(isKeyed)) await this.admit([...lanesOf(tasks), ...traces.left]);
    return results;
  }

  private storeWith(
    statements: EnqueueStatements,
    tasks: readonly NewTask[],
    wake: readonly string[],
    traces: Traces,
    again: boolean,
  ): Promise<Map<string, Stored>> {
    // In the order of their keys through all parts, so that producers of the same keys wait for each other in one order.
    const parts = chunks(inKeyOrder(tasks));
    const [only] = parts;
    if (only && parts.length === 1 && !again) return enqueueChunk(this.database.run, statements, only, wake, traces);
    return this.database.transaction(async (run) => {
      const stored = await inParts(parts, (chunk) => enqueueChunk(run, statements, chunk, wake, traces));
      if (again) await this.takeBackFinished(run, stored);
      return stored;
    });
  }

  /**
   * The transaction that holds a unique key may take its time, and may even wait for another enqueue of this process. So
   * each try waits for a moment only, and then lets others have its turn.
   */
  private async storeUnique(
    store: (statements: EnqueueStatements) => Promise<Map<string, Stored>>,
  ): Promise<Map<string, Stored>> {
    const giveUpAt = performance.now() + longestUniqueWaitMs;
    for (;;) {
      try {
        return await this.uniquePermits.with(() => store(this.impatient));
      } catch (error) {
        if (!isLockTimeout(error)) throw error;
        if (performance.now() > giveUpAt) throw new UniqueKeyPendingError(longestUniqueWaitMs, { cause: error });
      }
    }
  }

  /** Many that are handed to nobody, with ids that are new, as a rule: false if one is there after all. */
  private async storeBulk(tasks: readonly NewTask[]): Promise<boolean> {
    const wake = this.toWake(tasks);
    const parts = chunks(tasks).map((part) => [newTasksJson(part), wake]);
    const { enqueueBulk } = this.statements;
    try {
      await this.permits.with(async () => {
        const [only] = parts;
        if (only && parts.length === 1) return void (await this.database.run(enqueueBulk, only));
        await this.database.transaction(async (run) => {
          for (const part of parts) await run(enqueueBulk, part);
        });
      });
    } catch (error) {
      if (isUniqueViolation(error)) return false;
      throw error;
    }
    this.tellLater(tasks, noResults, wake);
    return true;
  }

  /** What an idle application waits for: the same, by the shortest way. */
  private async storeOne(task: NewTask): Promise<Stored> {
    const wake = this.toWake([task]);
    const stored = await this.permits.with(() => this.tryOne(task, wake));
    if (stored.handedAt === undefined) this.tellLater([task], new Map([[task.id, stored]]), wake);
    return stored;
  }

  private async tryOne(task: NewTask, wake: readonly string[]): Promise<Stored> {
    try {
      const [row] = await this.database.run(this.statements.enqueueOne, newTaskValues(task, wake));
      return { id: task.id, duplicate: false, ...(row?.[1] != null && { handedAt: Number(row[2]) }) };
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      const results = await enqueueChunk(this.database.run, this.general, [task], wake, new Traces());
      return results.get(task.id) ?? { id: task.id, duplicate: false };
    }
  }

  /** New ids are new, as a rule: one that is there after all shows itself, and nothing has been stored then. */
  private async storeFresh(
    store: (statements: EnqueueStatements) => Promise<Map<string, Stored>>,
  ): Promise<Map<string, Stored>> {
    try {
      return await store({ ...this.general, enqueue: this.statements.enqueueFresh });
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      return store(this.general);
    }
  }

  private get general(): EnqueueStatements {
    const { enqueue, enqueueReplacing, enqueueInWindow, holders, windowHolders, freeExpired } = this.statements;
    return { enqueue, enqueueReplacing, enqueueInWindow, holders, windowHolders, freeExpired };
  }

  /** The same, but whoever has to wait for another transaction fails soon. */
  private get impatient(): EnqueueStatements {
    const { enqueueUnique, enqueueReplacingSoon, enqueueInWindowSoon } = this.statements;
    return {
      ...this.general,
      enqueue: enqueueUnique,
      enqueueReplacing: enqueueReplacingSoon,
      enqueueInWindow: enqueueInWindowSoon,
    };
  }

  private async storeIn(
    manager: EntityManager,
    tasks: readonly NewTask[],
    again: boolean,
  ): Promise<Map<string, Stored>> {
    const { general: statements, database } = this;
    const wake = this.toWake(tasks);
    const traces = new Traces();
    const inSnapshot = tasks.some(isUnique) && (await seesOldSnapshot(manager));
    const store = (chunk: NewTask[]) => {
      if (inSnapshot) return enqueueInSnapshot(manager, statements, chunk, wake, traces, database.run);
      if (chunk.some(({ unique }) => unique?.replace))
        return enqueueReplacing(manager, statements, chunk, wake, traces);
      return enqueueChunk(runIn(manager), statements, chunk, wake, traces);
    };
    const results = await inParts(chunks(inKeyOrder(tasks)), store);
    if (again) await this.takeBackFinished(runIn(manager), results);
    this.watch.afterCommit(manager, () => {
      this.tellLater(tasks, results, wake);
      if (traces.left.length > 0 || tasks.some(isKeyed)) void this.admit([...lanesOf(tasks), ...traces.left]);
    });
    return results;
  }

  /**
   * A live task shows itself by its primary key, a finished one only among the finished. It is looked for after the
   * insert, in the same transaction: a task may finish between a look and an insert, but not come back after both.
   */
  private async takeBackFinished(run: Run, results: Map<string, Stored>): Promise<void> {
    for (const [taken] of await run(this.statements.takeBack, [[...results.keys()]])) {
      const id = text(taken);
      results.set(id, { id, duplicate: false });
    }
  }

  /** The queues whose workers can be woken by the statement itself: something on them is due, and it is quiet. */
  private toWake(tasks: readonly NewTask[]): string[] {
    const queues = new Set<string>();
    let last: NewTask | undefined;
    for (const task of tasks) {
      if (task.handTo || isKeyed(task) || (last?.queue === task.queue && last.due === task.due)) continue;
      last = task;
      if (dueInMs(task) <= 0) queues.add(task.queue);
    }
    return [...queues].filter((queue) => this.throttle.lead(queue));
  }

  /** Tells of what the statement itself told nobody. */
  private tellLater(tasks: readonly NewTask[], results: ReadonlyMap<string, Stored>, told: readonly string[]): void {
    const soonest = new Map<string, number>();
    let last: NewTask | undefined;
    for (const task of tasks) {
      if (results.size === 0 && last?.queue === task.queue && last.due === task.due) continue;
      last = task;
      const { handedAt, duplicate, replaced } = results.get(task.id) ?? {};
      if (isKeyed(task)) continue;
      const inMs = dueInMs(task);
      if (handedAt !== undefined || (duplicate && !replaced) || (inMs <= 0 && told.includes(task.queue))) continue;
      soonest.set(task.queue, Math.min(soonest.get(task.queue) ?? Infinity, inMs));
    }
    for (const [queue, inMs] of soonest) this.throttle.tell(queue, inMs);
  }

  private notify(dueIn: ReadonlyMap<string, number>): void {
    // A hint that cannot be sent costs latency, never work.
    this.database.run(this.statements.notify, [[...dueIn.keys()], [...dueIn.values()]]).catch(() => {});
  }
}

async function inParts(
  parts: readonly NewTask[][],
  store: (chunk: NewTask[]) => Promise<Map<string, Stored>>,
): Promise<Map<string, Stored>> {
  const results = new Map<string, Stored>();
  for (const chunk of parts) for (const [id, result] of await store(chunk)) results.set(id, result);
  return results;
}

/** Whether the transaction's snapshot may be older than a row that stands in the way. */
async function seesOldSnapshot(manager: EntityManager): Promise<boolean> {
  const [row] = await manager.query<{ level: string }[]>(`SELECT current_setting('transaction_isolation') AS level`);
  return row?.level === 'repeatable read' || row?.level === 'serializable';
}

function inKeyOrder(tasks: readonly NewTask[]): readonly NewTask[] {
  if (!tasks.some(isUnique)) return tasks;
  return tasks.toSorted((one, other) => compare(one.uniqueKey ?? '', other.uniqueKey ?? ''));
}

function compare(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}

const noResults: ReadonlyMap<string, Stored> = new Map();

/** Whether nothing is said of this task that only some statements know. */
function isPlain(task: NewTask): boolean {
  return task.uniqueKey === null && task.expiresInMs === undefined && task.rateKey === undefined && !isKeyed(task);
}

/** Whether it is parked, so that nobody needs to be told of it before it is admitted. */
function isKeyed({ lane }: NewTask): boolean {
  return lane != null;
}

/** Whether what becomes of this task must be asked for, or more is said of it than the quickest statement knows. */
function isSpecial(task: NewTask): boolean {
  return !isPlain(task) || task.handTo !== undefined;
}

function isUnique({ uniqueKey }: NewTask): boolean {
  return uniqueKey !== null;
}

/** For hints only: what is due is decided by the database's clock. */
function dueInMs({ due }: NewTask): number {
  return 'inMs' in due ? due.inMs : due.at.getTime() - Date.now();
}

function entityManager(scope: unknown): EntityManager {
  const manager = scope as Partial<EntityManager> | null;
  if (typeof manager?.query === 'function' && 'queryRunner' in manager) return manager as EntityManager;
  throw new InvalidOptionsError(
    `manager must be TypeORM's EntityManager, as dataSource.transaction(async (manager) => …) gives it.`,
  );
}
