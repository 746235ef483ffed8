import { BackieError, quoted } from './backie.error.js';

/** `task.manager` was asked for in a task that has no transaction. */
export class NotTransactionalError extends BackieError {
  constructor(task: string) {
    super(
      `Task ${quoted([task])} has no transaction, and so no task.manager. ` +
        `Declare it with @BackgroundTask(${quoted([task])}, { transactional: true }).`,
    );
  }
}

/** Registered tasks are transactional, but the store of the module has no transactions. */
export class TransactionsUnsupportedError extends BackieError {
  constructor(tasks: readonly string[], store: string) {
    super(
      `The tasks ${quoted(tasks)} are transactional, but the store (${store}) has no transactions. ` +
        `Give BackieModule a database, or declare them without { transactional }.`,
    );
  }
}

/** `task.manager` was used after its transaction had ended, or was to end the transaction that it belongs to. */
export class TransactionEndedError extends BackieError {
  static afterwards(task: string, id: string): TransactionEndedError {
    return new TransactionEndedError(
      `Task ${quoted([task])} ${id}: task.manager was used after its transaction had ended. ` +
        `Await all that uses it before run() returns, and stop when task.signal aborts.`,
    );
  }

  static unnoticed(task: string, id: string): TransactionEndedError {
    return new TransactionEndedError(
      `Task ${quoted([task])} ${id}: its handler has ended the transaction of task.manager, by a statement that was hidden ` +
        `behind another or sent past task.manager. What it ended there is stored or lost, and the attempt has failed. ` +
        `Return to commit, throw to roll back, or use task.manager.transaction() for a savepoint.`,
    );
  }

  static byHandler(task: string, id: string): TransactionEndedError {
    return new TransactionEndedError(
      `Task ${quoted([task])} ${id}: its handler must not end the transaction of task.manager. ` +
        `Return to commit it, throw to roll it back, or use task.manager.transaction() for a savepoint.`,
    );
  }
}

/** The transaction of an attempt could not be committed: nothing of it is stored, and the attempt has failed. */
export class TransactionFailedError extends BackieError {
  constructor(task: string, id: string, reason: string, options?: ErrorOptions) {
    super(`Task ${quoted([task])} ${id}: its transaction was rolled back, since ${reason}.`, options);
  }
}
