import type { ConnectionSource } from './connection-options.js';
import type { MigrationMode } from './migrate.js';

export interface TypeOrmTaskStoreOptions {
  /**
   * Where the tasks are: a `postgres://` URL, TypeORM's options, or the application's DataSource. Of a DataSource only
   * the options are used, for connections of the store's own; transactions of it can be joined.
   */
  readonly connection: ConnectionSource;
  /** The PostgreSQL schema that holds the tables. @default 'backie' */
  readonly schema?: string;
  /** Create and change the tables at start, only check them, or neither. @default 'run' */
  readonly migrations?: MigrationMode;
  /** How long to wait for a server that is not there yet, in milliseconds. @default 30_000 */
  readonly connectTimeoutMs?: number;
  /** Told why, each time that the server was not there and is waited for. */
  readonly onWaiting?: (reason: string) => void;
}
