import type { PoolClient } from 'pg';
import type { QueryRunner } from 'typeorm';
import type { ClaimedTask, TaskState } from '../engine/task.js';
import type { Settlement } from '../engine/task-store.js';
import type { TaskTransaction, TransactionRequest } from '../engine/task-transaction.js';
import { TransactionEndedError, TransactionFailedError } from '../errors/transaction.errors.js';
import type { Run } from './database.js';
import { clientTimeoutMs, queryByDriver } from './driver-query.js';
import { isAborted, isConflict, isServerError } from './postgres-errors.js';
import { depthOf } from './transaction-watch.js';

/** What a transaction needs of the store around it. */
export interface AttemptTransactionContext {
  /** Settles by the statements that settle everything else. */
  settle(run: Run, workerId: string, settlement: Settlement): Promise<TaskState | undefined>;
  /** Told when a settlement has committed. */
  settled(settlement: Settlement): void;
  /** Ends a session of the server, as far as that is possible. Never rejects. */
  terminate(client: PoolClient): Promise<void>;
}

/** How long a rollback may take before the connection is ended instead. */
const rollbackMs = 1_000;
/** Between the settlement and the COMMIT the task's row is locked: a process that stops there must not keep it long. */
const longestIdleSettledMs = 5_000;
const idleSetting = 'idle_in_transaction_session_timeout';

/**
 * What would end the transaction, or the savepoint of somebody else. Only at the beginning of a text: what hides further
 * behind, such as in `SELECT 1; COMMIT`, is found when the attempt is settled.
 */
const ending = new RegExp(
  String.raw`^(?:[\s;]|--[^\r\n]*[\r\n]|/\*(?:[^*]|\*(?!/))*\*/)*` +
    String.raw`(?:commit|end|abort|prepare\s+transaction|rollback(?!\s+(?:work\s+|transaction\s+)?to\b))\b`,
  'i',
);

/**
 * The transaction of an attempt, on a connection of the application's pool.
 *
 * All that the handler does goes through the query runner of its manager, so that is where a gate stands: statements
 * under way are known, none follows once the handler has returned or the attempt is over, and none ends the transaction.
 */
export class AttemptTransaction implements TaskTransaction {
  private readonly underWay = new Set<Promise<unknown>>();
  private client: PoolClient | undefined;
  private phase: 'open' | 'closed' | 'committing' = 'open';
  /** Those statements of TypeORM's that end the transaction on our own behalf. */
  private own: RegExp | undefined;
  private commitSent = false;
  private committed = false;
  /** The latest statement of the handler that failed. */
  private failure: unknown;
  private settlement: Settlement | undefined;
  /** The time at which the server began the transaction: no other one on this connection has the same. */
  private begunAt: string | undefined;
  private readonly release: QueryRunner['release'];

  constructor(
    private readonly runner: QueryRunner,
    private readonly task: ClaimedTask,
    private readonly context: AttemptTransactionContext,
  ) {
    this.release = runner.release.bind(runner);
  }

  get manager(): unknown {
    return this.runner.manager;
  }

  async begin({ isolation, timeoutMs }: TransactionRequest): Promise<void> {
    this.client = (await this.runner.connect()) as PoolClient;
    await this.runner.startTransaction(isolation);
    // If this process stops, what it has locked is free again some time after the attempt would have ended.
    this.begunAt = await this.limitIdle(timeoutMs + rollbackMs);
    this.guard();
  }

  async close(): Promise<void> {
    await this.quiet();
    this.phase = 'closed';
  }

  async settle(workerId: string, settlement: Settlement): Promise<TaskState | 'conflict' | undefined> {
    const { runner, failure: cause } = this;
    if (runner.isReleased) throw this.failed('its connection broke', { cause });
    if (depthOf(runner) !== 1) throw this.failed('its handler returned within a transaction inside of it: await that');
    this.settlement = settlement;
    try {
      const begunAt = await this.limitIdle(longestIdleSettledMs);
      if (begunAt !== this.begunAt) throw TransactionEndedError.unnoticed(this.task.name, this.task.id);
      return await this.context.settle(this.run, workerId, settlement);
    } catch (error) {
      if (error instanceof TransactionEndedError) throw error;
      if (isConflict(error)) return 'conflict';
      if (!isServerError(error)) throw this.failed('its connection broke', { cause: error });
      if (!isAborted(error)) throw error;
      throw this.failed('one of its statements had failed, and its handler returned all the same', { cause });
    }
  }

  async commit(): Promise<boolean> {
    this.own = /^COMMIT$/;
    // Subscribers of the application may still write before the commit.
    this.phase = 'committing';
    try {
      await this.runner.commitTransaction();
    } catch (error) {
      if (!this.commitSent || isServerError(error) || error instanceof TransactionFailedError) throw error;
      if (!this.committed) {
        await this.destroy();
        return false;
      }
    }
    await this.letGo();
    if (this.settlement) this.context.settled(this.settlement);
    return true;
  }

  async rollback(): Promise<void> {
    this.phase = 'closed';
    this.own = /^ROLLBACK/;
    const rolledBack = async () => {
      await this.quiet();
      while (this.runner.isTransactionActive) await this.runner.rollbackTransaction();
    };
    if (await inTime(rollbackMs, rolledBack())) await this.letGo();
    else await this.destroy();
  }

  private readonly run: Run = (statement, values) =>
    this.client
      ? queryByDriver(this.client, { ...statement, name: '' }, values)
      : Promise.reject(new Error('The transaction has not begun.'));

  /** @returns When the transaction began that is open now. */
  private async limitIdle(ms: number): Promise<string | undefined> {
    const text = `SELECT set_config($1, least(nullif(extract(epoch FROM current_setting($1)::interval) * 1000, 0),
      $2::bigint)::bigint::text, true), extract(epoch FROM now())::text`;
    const [row] = await this.run({ name: '', text }, [idleSetting, Math.min(Math.ceil(ms), 2 ** 31 - 1)]);
    return row?.[1] ?? undefined;
  }

  private guard(): void {
    const { runner } = this;
    const query = runner.query.bind(runner) as (...args: unknown[]) => Promise<unknown>;
    const stream = runner.stream.bind(runner) as (...args: unknown[]) => Promise<unknown>;
    const guarded = (...args: unknown[]) => {
      const text = String(args[0]);
      if (!this.own?.test(text)) return this.pass(text, () => query(...args));
      return text === 'COMMIT' ? this.sendCommit() : query(...args);
    };
    runner.query = guarded as QueryRunner['query'];
    runner.stream = ((...args: unknown[]) =>
      this.pass(String(args[0]), () => stream(...args))) as QueryRunner['stream'];
    // The connection would go back to the pool in the middle of the transaction.
    runner.release = async () => {};
  }

  private async pass(text: string, send: () => Promise<unknown>): Promise<unknown> {
    const { id, name } = this.task;
    if (this.phase === 'closed') throw TransactionEndedError.afterwards(name, id);
    if (ending.test(text)) throw TransactionEndedError.byHandler(name, id);
    const sent = send();
    this.underWay.add(sent);
    try {
      return await sent;
    } catch (error) {
      this.failure = error;
      throw error;
    } finally {
      this.underWay.delete(sent);
    }
  }

  /** By the driver itself: it tells when the server has rolled back instead, which is no error to it. */
  private async sendCommit(): Promise<void> {
    await this.close();
    this.commitSent = true;
    const config = { text: 'COMMIT', query_timeout: clientTimeoutMs };
    const result = await this.client?.query(config);
    if (result?.command !== 'COMMIT') {
      throw this.failed('a statement before its commit failed', { cause: this.failure });
    }
    this.committed = true;
  }

  private async quiet(): Promise<void> {
    while (this.underWay.size > 0) await Promise.allSettled(this.underWay);
  }

  /** Nothing of it will be committed from now on; whatever is under way on its connection fails. */
  private async destroy(): Promise<void> {
    const { client } = this;
    if (client) {
      await inTime(rollbackMs, this.context.terminate(client));
      void client.end().catch(() => {});
    }
    await this.letGo();
  }

  private async letGo(): Promise<void> {
    await this.release();
    // A manager that is used from now on is to meet our error, which names the task, before that of a released runner.
    Object.defineProperty(this.runner, 'isReleased', { value: false });
  }

  private failed(reason: string, options?: ErrorOptions): TransactionFailedError {
    return new TransactionFailedError(this.task.name, this.task.id, reason, options);
  }
}

/** Whether the promise was fulfilled in time. */
async function inTime(ms: number, promise: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  const fulfilled = promise.then(
    () => true,
    () => false,
  );
  const result = await Promise.race([fulfilled, late]);
  clearTimeout(timer);
  return result;
}
