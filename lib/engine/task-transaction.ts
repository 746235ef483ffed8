import type { Settlement } from './settlement.js';
import type { ClaimedTask, TaskState } from './task.js';

/** PostgreSQL's isolation levels. */
export const IsolationLevel = {
  readCommitted: 'READ COMMITTED',
  repeatableRead: 'REPEATABLE READ',
  serializable: 'SERIALIZABLE',
} as const;
export type IsolationLevel = (typeof IsolationLevel)[keyof typeof IsolationLevel];

/** How the transactions of a task are to be. */
export interface TransactionTerms {
  /** @default that of the connection, as a rule READ COMMITTED */
  readonly isolation?: IsolationLevel;
}

export interface TransactionRequest extends TransactionTerms {
  readonly task: ClaimedTask;
  /** Milliseconds that the attempt may take: the transaction of a process that has stopped may end by itself after it. */
  readonly timeoutMs: number;
}

/** A store that can run an attempt in a transaction. */
export interface TransactionSource {
  /** Waits for a connection, for as long as that takes: whoever no longer wants it rolls back what comes then. */
  begin(request: TransactionRequest): Promise<TaskTransaction>;
}

/** The transaction of one attempt. It ends by `commit` or `rollback`, and nobody uses its connection after that. */
export interface TaskTransaction {
  /** What the handler works with, in the store's own terms (a TypeORM `EntityManager` for PostgreSQL). */
  readonly manager: unknown;
  /** Waits for what the handler has not waited for, then lets it do no more. */
  close(): Promise<void>;
  /**
   * Settles the task of exactly this claim. Call it after `close`.
   *
   * @returns The state that it is in once the transaction has committed; undefined when somebody else has the task;
   * 'conflict' when it lost against another transaction, so that it can only be rolled back and run again.
   */
  settle(workerId: string, settlement: Settlement): Promise<TaskState | 'conflict' | undefined>;
  /**
   * Rejects when the transaction has not committed for sure.
   *
   * @returns Whether it has; false when nobody answered, so that it is not known.
   */
  commit(): Promise<boolean>;
  /** Ends it if need be by force, after a moment. Never rejects. */
  rollback(): Promise<void>;
}
