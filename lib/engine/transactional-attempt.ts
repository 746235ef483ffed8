import type { CurrentTask } from './current-task.js';
import type { Execution } from './execution.js';
import type { Outcome, Settlement } from './settlement.js';
import type { TaskHandler } from './task-definition.js';
import type { TaskTransaction } from './task-transaction.js';

/** An outcome that goes well with the writes of the handler. */
type Success = Extract<Outcome, { kind: 'returned' | 'snoozed' }>;

/**
 * One attempt whose handler's writes and whose outcome commit together, or not at all.
 *
 * The transaction holds no lock on the task while the handler runs: a process that stands still must not keep others
 * from rescuing it. What decides is the fence, at the end: the transaction settles exactly this claim or rolls back.
 * From the moment in which the handler has returned nothing else ends the attempt, neither its timeout nor a cancel.
 */
export class TransactionalAttempt {
  private transaction: TaskTransaction | undefined;
  private over = false;

  constructor(
    private readonly execution: Execution,
    private readonly workerId: string,
    private readonly handler: TaskHandler,
    private readonly begin: () => Promise<TaskTransaction>,
    private readonly decide: (outcome: Success) => Settlement,
  ) {}

  /** @param ended Called once, when the transaction is over too. */
  run(ended: (outcome: Outcome) => void): void {
    this.execution.run(
      (payload, task) => this.handle(payload, task),
      (outcome) => void this.conclude(outcome).then(ended),
    );
  }

  private async handle(payload: unknown, task: CurrentTask): Promise<unknown> {
    const transaction = await this.begin();
    // The attempt may have ended while it waited for a connection.
    if (this.over) return transaction.rollback();
    this.transaction = transaction;
    this.execution.manager = transaction.manager;
    const result = await this.handler(payload, task);
    await transaction.close();
    return result;
  }

  private async conclude(outcome: Outcome): Promise<Outcome> {
    this.over = true;
    const { transaction } = this;
    if (!transaction) return outcome;
    if (outcome.kind === 'returned' || outcome.kind === 'snoozed') return this.complete(transaction, outcome);
    await transaction.rollback();
    return outcome;
  }

  private async complete(transaction: TaskTransaction, outcome: Success): Promise<Outcome> {
    try {
      // What was returned may be nothing that can be stored.
      const settlement = this.decide(outcome);
      const state = await transaction.settle(this.workerId, settlement);
      if (state === 'conflict') return await this.giveBack(transaction);
      if (state && (await transaction.commit())) return { kind: 'committed', settlement, state };
      if (state) return { kind: 'unanswered', settlement };
    } catch (error) {
      await transaction.rollback();
      return { kind: 'threw', error };
    }
    await transaction.rollback();
    return { kind: 'lost' };
  }

  /** The handler has done nothing wrong: what stood in the way of its settlement must not use up a retry. */
  private async giveBack(transaction: TaskTransaction): Promise<Outcome> {
    await transaction.rollback();
    return { kind: 'interrupted' };
  }
}
