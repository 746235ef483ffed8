import { delay } from '../engine/delay.js';
import { BackieError } from '../errors/backie.error.js';
import { ConnectionFailedError } from '../errors/store.errors.js';
import { describeTarget } from './connection-options.js';
import type { Database } from './database.js';
import { isRefusal, isTransient } from './postgres-errors.js';
import type { TypeOrmTaskStoreOptions } from './typeorm-task-store.options.js';

const firstPauseMs = 100;
const longestPauseMs = 3_000;

/**
 * Connects. A server that is starting up, or not there yet, is waited for; one that refuses us is not.
 *
 * @throws ConnectionFailedError
 */
export async function openDatabase(
  database: Database,
  { connectTimeoutMs = 30_000, onWaiting }: Pick<TypeOrmTaskStoreOptions, 'connectTimeoutMs' | 'onWaiting'>,
): Promise<void> {
  const giveUpAt = performance.now() + connectTimeoutMs;
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    try {
      return await database.open();
    } catch (error) {
      if (error instanceof BackieError) throw error;
      const reason = error instanceof Error ? error.message || error.name : String(error);
      if (isRefusal(error) || !isTransient(error) || performance.now() + pauseMs > giveUpAt) {
        throw new ConnectionFailedError(describeTarget(database.options), reason, { cause: error });
      }
      onWaiting?.(reason);
      await delay(pauseMs);
    }
  }
}
