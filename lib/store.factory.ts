import { resolve } from 'node:path';
import { Logger } from '@nestjs/common';
import type { TaskStore } from './engine/task-store.js';
import { MissingConnectionError } from './errors/store.errors.js';
import type { ResolvedOptions } from './options/resolve-options.js';
import { type ConnectionSource } from './typeorm/connection-options.js';
import { TypeOrmTaskStore } from './typeorm/typeorm-task-store.js';

/** An open store, and how to let go of all that was opened for it. */
export interface StoreHandle {
  readonly store: TaskStore;
  close(): Promise<void>;
}

const embeddedDataDir = 'node_modules/.cache/nestjs-backie/postgres';

/**
 * Opens the store that the options ask for: a given one, the application's database, DATABASE_URL, or else the embedded
 * PostgreSQL, which is for development only.
 *
 * @throws MissingConnectionError in production without a connection.
 */
export async function openStore(options: ResolvedOptions): Promise<StoreHandle> {
  const { store, dataSource, connection, embedded } = options.source;
  if (store) {
    await store.open();
    return { store, close: () => store.close() };
  }
  const configured = dataSource ?? connection ?? (process.env['DATABASE_URL'] || undefined);
  if (configured !== undefined) return openPostgres(configured, options);
  if (process.env['NODE_ENV'] === 'production') throw new MissingConnectionError();
  return openEmbedded(resolve(embedded?.dataDir ?? embeddedDataDir), options);
}

async function openPostgres(connection: ConnectionSource, options: ResolvedOptions): Promise<StoreHandle> {
  const { schema, migrations, connectTimeoutMs } = options;
  const logger = new Logger('BackieModule');
  const onWaiting = (reason: string) => logger.warn(`PostgreSQL is not there yet, trying again: ${reason}`);
  const store = new TypeOrmTaskStore({ connection, schema, migrations, connectTimeoutMs, onWaiting });
  await store.open();
  return { store, close: () => store.close() };
}

async function openEmbedded(dataDir: string, options: ResolvedOptions): Promise<StoreHandle> {
  // Loaded only here: production needs none of it.
  const { startEmbeddedPostgres } = await import('./embedded/index.js');
  const server = await startEmbeddedPostgres({ dataDir });
  new Logger('BackieModule').warn(
    `No connection is configured: using the embedded PostgreSQL, with its data in ${server.dataDir}. ` +
      `Set DATABASE_URL, or pass dataSource or connection, before production.`,
  );
  try {
    const handle = await openPostgres(server.url, options);
    const close = async () => {
      await handle.close();
      await server.stop();
    };
    return { store: handle.store, close };
  } catch (error) {
    await server.stop();
    throw error;
  }
}
