import type { DataSource, DataSourceOptions } from 'typeorm';
import { InvalidOptionsError } from '../errors/configuration.errors.js';

/** TypeORM's options for PostgreSQL. */
export type PostgresOptions = Extract<DataSourceOptions, { type: 'postgres' }>;

/** Where the database is: a URL, TypeORM options, or the application's own DataSource, whose options are taken over. */
export type ConnectionSource = string | Omit<PostgresOptions, 'type'> | DataSource;

/**
 * How many connections the engine keeps for itself at most, next to one for LISTEN and one for the lease. Statements
 * are shared, so more would only stand in each other's way; producers leave two of them to the workers.
 */
const poolSize = 6;
const connectTimeoutMs = 10_000;

/**
 * The options of the engine's own DataSource. Its connections are never the application's: an application whose pool
 * is exhausted must not starve the engine, and the other way round.
 */
export function engineOptions(source: ConnectionSource, schema: string): PostgresOptions {
  const given = givenOptions(source);
  // Workers write with every statement, so replicas are of no use here.
  const { replication, ...options } = given;
  return {
    ...options,
    ...replication?.master,
    type: 'postgres',
    name: undefined,
    schema,
    entities: [],
    migrations: [],
    subscribers: [],
    synchronize: false,
    dropSchema: false,
    migrationsRun: false,
    installExtensions: false,
    cache: false,
    logging: false,
    poolSize,
    connectTimeoutMS: options.connectTimeoutMS ?? connectTimeoutMs,
    applicationName: options.applicationName ?? 'nestjs-backie',
    extra: {
      keepAliveInitialDelayMillis: 10_000,
      ...(options.extra as object | undefined),
      max: poolSize,
      keepAlive: true,
      // Statements of the engine's own kind cannot be pipelined, and each has its connection for itself anyway.
      pipeline: false,
    },
  } as PostgresOptions;
}

/** The options of a DataSource for handlers, when the application has given none: entities and pool are as given. */
export function handlerOptions(source: ConnectionSource): PostgresOptions {
  const { applicationName = 'nestjs-backie', ...options } = givenOptions(source);
  return {
    ...options,
    applicationName,
    migrations: [],
    synchronize: false,
    dropSchema: false,
    migrationsRun: false,
  };
}

function givenOptions(source: ConnectionSource): PostgresOptions {
  if (typeof source === 'string') {
    // Never shown: it may hold a password, in whatever place a slip has put it.
    if (!/^postgres(ql)?:\/\/[^/]/.test(source)) {
      throw new InvalidOptionsError(
        `The connection (or DATABASE_URL) must be a URL such as postgres://user:password@host:5432/database; ` +
          `the given one does not begin so.`,
      );
    }
    return { type: 'postgres', url: source };
  }
  const options: object = isDataSource(source) ? source.options : source;
  const { type = 'postgres' } = options as { type?: string };
  if (type !== 'postgres') {
    throw new InvalidOptionsError(
      `BackieModule needs TypeORM's driver "postgres", not ${JSON.stringify(type)}. Pass a connection of its own.`,
    );
  }
  return { ...(options as PostgresOptions), type };
}

/** By shape, since an application may hold another copy of TypeORM. */
export function isDataSource(source: unknown): source is DataSource {
  return typeof source === 'object' && source !== null && 'createQueryRunner' in source && 'options' in source;
}

/** Host, port and database for the log; never a password. */
export function describeTarget(options: PostgresOptions): string {
  if (options.url) {
    try {
      const { host, pathname } = new URL(options.url);
      return `${host || 'localhost'}${pathname}`;
    } catch {
      return 'the given URL';
    }
  }
  return `${options.host ?? 'localhost'}:${options.port ?? 5432}/${options.database ?? ''}`;
}
