import type { EntityManager } from 'typeorm';
import { type Lane, lanesOf } from '../engine/lane.js';
import type { NewTask, Stored } from '../engine/task.js';
import { InvalidOptionsError } from '../errors/configuration.errors.js';
import type { Run } from './database.js';
import { enqueueInSnapshot, enqueueReplacing, runIn } from './enqueue-in-transaction.js';
import { type EnqueueStatements, generalStatements, type ProducerStatements } from './enqueue-statements.js';
import { chunks, enqueueChunk, enqueueParts, takeBackFinished, Traces } from './enqueue.js';
import { inKeyOrder, isKeyed, isUnique } from './new-tasks.js';
import { TransactionWatch } from './transaction-watch.js';
import type { WakeTeller } from './wake-teller.js';

/** Stores tasks in transactions of the caller's; whoever is to be told of them is told after the commit. */
export class TransactionProducer {
  private readonly watch = new TransactionWatch();
  private readonly general: EnqueueStatements;

  constructor(
    /** Outside the caller's transaction. */
    private readonly elsewhere: Run,
    private readonly statements: ProducerStatements,
    private readonly wakes: WakeTeller,
    /** Follows each commit of tasks with concurrency keys; never rejects. */
    private readonly admit: (lanes: readonly Lane[]) => Promise<void>,
  ) {
    this.general = generalStatements(statements);
  }

  /** @param again These may have been stored before. */
  async store(scope: unknown, tasks: readonly NewTask[], again: boolean): Promise<Map<string, Stored>> {
    const manager = entityManager(scope);
    const { general: statements, elsewhere } = this;
    const wake = this.wakes.toWake(tasks);
    const traces = new Traces();
    const inSnapshot = tasks.some(isUnique) && (await seesOldSnapshot(manager));
    const store = (chunk: NewTask[]) => {
      if (inSnapshot) return enqueueInSnapshot(manager, statements, chunk, wake, traces, elsewhere);
      if (chunk.some(({ unique }) => unique?.replace))
        return enqueueReplacing(manager, statements, chunk, wake, traces);
      return enqueueChunk(runIn(manager), statements, chunk, wake, traces);
    };
    const results = await enqueueParts(chunks(inKeyOrder(tasks)), store);
    if (again) await takeBackFinished(runIn(manager), this.statements, results);
    this.watch.afterCommit(manager, () => {
      this.wakes.tellLater(tasks, results, wake);
      if (traces.left.length > 0 || tasks.some(isKeyed)) void this.admit([...lanesOf(tasks), ...traces.left]);
    });
    return results;
  }

  afterCommit(scope: unknown, effect: () => void): void {
    this.watch.afterCommit(entityManager(scope), effect);
  }

  stop(): void {
    this.watch.stop();
  }
}

/** Whether the transaction's snapshot may be older than a row that stands in the way. */
async function seesOldSnapshot(manager: EntityManager): Promise<boolean> {
  const [row] = await manager.query<{ level: string }[]>(`SELECT current_setting('transaction_isolation') AS level`);
  return row?.level === 'repeatable read' || row?.level === 'serializable';
}

/** @throws InvalidOptionsError when the scope of an enqueue is no caller's transaction. */
function entityManager(scope: unknown): EntityManager {
  const manager = scope as Partial<EntityManager> | null;
  if (typeof manager?.query === 'function' && 'queryRunner' in manager) return manager as EntityManager;
  const given = typeof manager?.query === 'function' ? 'has no transaction' : `is no EntityManager of TypeORM's`;
  throw new InvalidOptionsError(
    `manager ${given}: give the one that dataSource.transaction(async (manager) => …) gives, or none.`,
  );
}
