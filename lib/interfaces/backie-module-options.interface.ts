import type { DataSource } from 'typeorm';
import type { Backoff } from '../engine/backoff.js';
import type { RateLimit } from '../engine/limits.js';
import type { Retention } from '../engine/retention.js';
import type { TaskStore } from '../engine/task-store.js';
import type { PostgresOptions } from '../typeorm/connection-options.js';
import type { MigrationMode } from '../typeorm/migrate.js';

/** One queue. */
export interface QueueOptions {
  /** 1 to 128 characters. */
  readonly name: string;
  /** How many tasks of it run at once in this process. @default 10 */
  readonly concurrency?: number | undefined;
  /** How many tasks of it run at once over all processes, 1 to 1,000,000. @default any number */
  readonly globalConcurrency?: number | undefined;
  /** How many tasks of it start in a while over all processes. @default any number */
  readonly rateLimit?: RateLimit | undefined;
  /** How often to look for due tasks when nothing wakes the worker, in milliseconds. @default 1_000 */
  readonly pollIntervalMs?: number | undefined;
  /**
   * Which finished tasks stay in the database: a mode, or how long by state, `{ done?, failed?, cancelled? }`, each a
   * number of milliseconds (at most ten years), 'none' or 'forever'. @default 'removeDone'
   */
  readonly retention?: Retention | undefined;
  /** How many milliseconds an attempt may take when its task names no timeout. @default 120_000 */
  readonly executionTimeoutMs?: number | undefined;
}

/** What holds for all tasks and queues that do not say otherwise. */
export interface BackieDefaults {
  readonly maxRetries?: number | undefined;
  readonly backoff?: Backoff | undefined;
  readonly timeoutMs?: number | undefined;
  readonly priority?: number | undefined;
  readonly concurrency?: number | undefined;
  readonly pollIntervalMs?: number | undefined;
  /** Of queues that do not say otherwise, and of those that are not configured here. @default 'removeDone' */
  readonly retention?: Retention | undefined;
}

/** The options of `BackieModule.forRoot` and of what `forRootAsync` gives. */
export interface BackieModuleOptions {
  /**
   * The application's own DataSource: its options are taken over for connections of the engine's own, its ambient
   * transactions are joined, and it is never destroyed by this module.
   */
  readonly dataSource?: DataSource | undefined;
  /**
   * A `postgres://` URL or TypeORM's options for PostgreSQL. Without it and without `dataSource`, the environment
   * variable DATABASE_URL counts; without that, the embedded PostgreSQL is used, never in production.
   */
  readonly connection?: string | Omit<PostgresOptions, 'type'> | undefined;
  /** A store of your own, for instance `new MemoryTaskStore()`, in place of a database. */
  readonly store?: TaskStore | undefined;
  /** Where the embedded PostgreSQL keeps its data. @default { dataDir: 'node_modules/.cache/nestjs-backie/postgres' } */
  readonly embedded?: { readonly dataDir?: string } | undefined;
  /** The PostgreSQL schema that holds the tables. @default 'backie', for a named instance 'backie_' and its name */
  readonly schema?: string | undefined;
  /** Create and change the tables at start, only check them, or neither. @default 'run' */
  readonly migrations?: MigrationMode | undefined;
  /** How long to wait at start for a server that is not there yet, in milliseconds. @default 30_000 */
  readonly connectTimeoutMs?: number | undefined;
  /** Whether this process works; `false`: it only enqueues. @default true */
  readonly workers?: boolean | undefined;
  /** The queues that this process works. The queue 'default' always exists. @default [] */
  readonly queues?: readonly QueueOptions[] | undefined;
  readonly defaults?: BackieDefaults | undefined;
  /** How long a worker that is not heard of keeps its tasks, in milliseconds. @default 30_000 */
  readonly leaseMs?: number | undefined;
  /** How often a worker renews its lease, in milliseconds; at most half of leaseMs. @default 10_000, or leaseMs / 3 */
  readonly heartbeatMs?: number | undefined;
  /** How long running tasks may take to finish at shutdown, in milliseconds. @default 25_000 */
  readonly shutdownGraceMs?: number | undefined;
  /** A task that was held by this many workers when they died fails as quarantined. @default 3 */
  readonly maxCrashes?: number | undefined;
  /** How large an encoded payload may be, in bytes. @default 1_048_576 (1 MiB) */
  readonly maxPayloadBytes?: number | undefined;
}

/** What `useClass` and `useExisting` of `forRootAsync` implement. */
export interface BackieOptionsFactory {
  createBackieOptions(): Promise<BackieModuleOptions> | BackieModuleOptions;
}
