import type { Pool } from 'pg';
import { DataSource } from 'typeorm';
import type { TaskTransaction, TransactionRequest, TransactionSource } from '../engine/task-transaction.js';
import { StoreClosedError } from '../errors/store.errors.js';
import { AttemptTransaction, type AttemptTransactionContext } from './attempt-transaction.js';
import { type ConnectionSource, handlerOptions, isDataSource } from './connection-options.js';

const closeTimeoutMs = 1_500;

/**
 * Opens the transactions of attempts: on the application's own DataSource, so that its entities work in them, or else
 * on one that is opened for them. Never on the engine's connections, which handlers would keep from the engine.
 */
export class AttemptTransactions implements TransactionSource {
  private readonly appDataSource: DataSource | undefined;
  private own: Promise<DataSource> | undefined;
  private closed = false;

  constructor(
    private readonly source: ConnectionSource,
    private readonly context: AttemptTransactionContext,
  ) {
    this.appDataSource = isDataSource(source) ? source : undefined;
  }

  async begin(request: TransactionRequest): Promise<TaskTransaction> {
    const dataSource = this.appDataSource ?? (await this.ownDataSource());
    const transaction = new AttemptTransaction(dataSource.createQueryRunner('master'), request.task, this.context);
    try {
      await transaction.begin(request);
    } catch (error) {
      await transaction.rollback();
      throw error;
    }
    return transaction;
  }

  open(): void {
    this.closed = false;
  }

  async close(): Promise<void> {
    this.closed = true;
    const own = this.own;
    this.own = undefined;
    if (!own) return;
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, closeTimeoutMs);
    });
    const destroyed = own.then((dataSource) => dataSource.destroy()).catch(() => {});
    await Promise.race([destroyed, patience]);
    clearTimeout(timer);
  }

  private async ownDataSource(): Promise<DataSource> {
    if (this.closed) throw new StoreClosedError();
    this.own ??= opened(this.source);
    try {
      return await this.own;
    } catch (error) {
      // The next attempt tries again.
      this.own = undefined;
      throw error;
    }
  }
}

async function opened(source: ConnectionSource): Promise<DataSource> {
  const dataSource = await new DataSource(handlerOptions(source)).initialize();
  const pool = (dataSource.driver as unknown as { master: Pool }).master;
  // One may break in the very moment in which it is made, before anybody listens to it.
  pool.on('connect', (client) => client.on('error', () => {}));
  return dataSource;
}
