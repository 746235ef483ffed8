import { type Lane, lanesOf } from '../engine/lane.js';
import type { NewTask, Stored } from '../engine/task.js';
import { UniqueKeyPendingError } from '../errors/store.errors.js';
import type { Database, Run } from './database.js';
import {
  type EnqueueStatements,
  freshStatements,
  generalStatements,
  impatientStatements,
  type ProducerStatements,
} from './enqueue-statements.js';
import { chunks, enqueueChunk, enqueueParts, takeBackFinished, Traces } from './enqueue.js';
import { areAlike, inKeyOrder, isKeyed, isPlain, isUnique } from './new-tasks.js';
import { Permits } from './permits.js';
import { isLockTimeout, isUniqueViolation } from './postgres-errors.js';
import { bulkValues, newTaskValues } from './task-input.js';
import type { TextRow } from './text-query.js';
import { TransactionProducer } from './transaction-producer.js';
import { WakeTeller } from './wake-teller.js';

/**
 * How many of the engine's connections producers may use at once. A unique key whose holder has not committed yet makes
 * its enqueue wait for as long as that takes: neither other enqueues nor the workers may wait along.
 */
const producerConnections = 2;
const uniqueConnections = 2;
const longestUniqueWaitMs = 60_000;
const noResults: ReadonlyMap<string, Stored> = new Map();

/** Stores tasks, in a transaction of its own or of the caller's, and tells the workers of other processes. */
export class Producer {
  private readonly permits = new Permits(producerConnections);
  private readonly uniquePermits = new Permits(uniqueConnections);
  private readonly inTransactions: TransactionProducer;
  private readonly wakes: WakeTeller;
  private readonly general: EnqueueStatements;
  private readonly impatient: EnqueueStatements;
  private readonly fresh: EnqueueStatements;

  constructor(
    private readonly database: Database,
    private readonly statements: ProducerStatements,
    /** Follows each commit of tasks with concurrency keys; never rejects. */
    private readonly admit: (lanes: readonly Lane[]) => Promise<void>,
  ) {
    this.wakes = new WakeTeller(database.run, statements.notify);
    this.inTransactions = new TransactionProducer(database.run, statements, this.wakes, admit);
    this.general = generalStatements(statements);
    this.impatient = impatientStatements(statements);
    this.fresh = freshStatements(statements);
  }

  /**
   * @param again These may have been stored before: ids that are live or finished stay as they are.
   * @param committed See TaskStore.
   */
  async enqueue(
    tasks: readonly NewTask[],
    scope: unknown,
    again: boolean,
    committed?: (stored: Stored) => void,
  ): Promise<Stored[]> {
    const [first] = tasks;
    if (!first) return [];
    if (tasks.length === 1 && scope === undefined && !again && isPlain(first)) {
      return [await this.storeOne(first, committed)];
    }
    if (scope === undefined && !again && areAlike(first, tasks) && (await this.storeBulk(first, tasks))) {
      return tasks.map(({ id }) => ({ id, duplicate: false }));
    }
    const results =
      scope === undefined ? await this.storeHere(tasks, again) : await this.inTransactions.store(scope, tasks, again);
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
    const results = await enqueueParts(chunks(inKeyOrder(tasks)), store);
    const stored = tasks.map(({ id }) => results.get(id) ?? { id, duplicate: false });
    return { stored, lanes: [...lanesOf(tasks), ...traces.left] };
  }

  afterCommit(scope: unknown, effect: () => void): void {
    if (scope === undefined) effect();
    else this.inTransactions.afterCommit(scope, effect);
  }

  /** Tells the workers of other processes. */
  tell(queue: string, inMs: number): void {
    this.wakes.tell(queue, inMs);
  }

  stop(): void {
    this.inTransactions.stop();
    this.wakes.stop();
  }

  private async storeHere(tasks: readonly NewTask[], again: boolean): Promise<Map<string, Stored>> {
    const wake = this.wakes.toWake(tasks);
    const unique = tasks.some(isUnique);
    const traces = new Traces();
    const store = (statements: EnqueueStatements) => this.storeWith(statements, tasks, wake, traces, again);
    const results = unique
      ? await this.storeUnique(store)
      : await this.permits.with(() => (again ? store(this.general) : this.storeFresh(store)));
    this.wakes.tellLater(tasks, results, wake);
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
      const stored = await enqueueParts(parts, (chunk) => enqueueChunk(run, statements, chunk, wake, traces));
      if (again) {
        await takeBackFinished(run, this.statements, stored);
        // An earlier try may have stored them without waiting for the disk.
        await run(this.statements.flush, []);
      }
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

  /** Many like `head`, with ids that are new, as a rule: false if one is there after all. */
  private async storeBulk(head: NewTask, tasks: readonly NewTask[]): Promise<boolean> {
    const wake = this.wakes.toWake(tasks);
    const quiet = wake.length === 0;
    const parts = chunks(tasks).map((part) => [...bulkValues(head, part), ...(quiet ? [] : [wake])]);
    const statement = quiet ? this.statements.enqueueQuietly : this.statements.enqueueBulk;
    try {
      await this.permits.with(async () => {
        const [only] = parts;
        if (only && parts.length === 1) return void (await this.database.run(statement, only));
        await this.database.transaction(async (run) => {
          for (const part of parts) await run(statement, part);
        });
      });
    } catch (error) {
      if (isUniqueViolation(error)) return false;
      throw error;
    }
    this.wakes.tellLater(tasks, noResults, wake);
    return true;
  }

  /** What an idle application waits for: the same, by the shortest way. */
  private async storeOne(task: NewTask, committed?: (stored: Stored) => void): Promise<Stored> {
    const wake = this.wakes.toWake([task]);
    const stored = await this.permits.with(() => this.tryOne(task, wake, committed));
    if (stored.handedAt === undefined) this.wakes.tellLater([task], new Map([[task.id, stored]]), wake);
    return stored;
  }

  private async tryOne(task: NewTask, wake: readonly string[], committed?: (stored: Stored) => void): Promise<Stored> {
    const { enqueueOne, flush } = this.statements;
    const values = (ahead: boolean) => newTaskValues(task, wake, ahead);
    const read = ([row]: readonly TextRow[]) => {
      return { id: task.id, duplicate: false, ...(row?.[1] != null && { handedAt: Number(row[2]) }) };
    };
    try {
      if (wake.length === 0 && task.handTo === undefined)
        return read(await this.database.run(enqueueOne, values(false)));
      return read(await this.database.runAhead(enqueueOne, values, flush, (rows) => committed?.(read(rows))));
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
      return await store(this.fresh);
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      return store(this.general);
    }
  }
}
