import { BackieError, quoted } from './backie.error.js';

/** No connection is configured, and the embedded PostgreSQL is not for production. */
export class MissingConnectionError extends BackieError {
  constructor() {
    super(
      `BackieModule has no database, and the embedded PostgreSQL is never used when NODE_ENV is "production". ` +
        `Set DATABASE_URL, or pass dataSource or connection to BackieModule.forRoot().`,
    );
  }
}

/** The database could not be reached, or refused the connection, when the module started. */
export class ConnectionFailedError extends BackieError {
  constructor(target: string, reason: string, options?: ErrorOptions) {
    super(`Cannot connect to PostgreSQL at ${target}: ${reason}. Check BackieModule's connection.`, options);
  }
}

/** The schema in the database was made by a newer version of this package. */
export class SchemaTooNewError extends BackieError {
  constructor(schema: string, found: number, known: number) {
    super(
      `Schema ${quoted([schema])} has version ${found}, but this nestjs-backie knows only version ${known}. ` +
        `Deploy the newer nestjs-backie, or revert its migration first.`,
    );
  }
}

/** The tables are missing or older than this package needs, and `migrations` is not `'run'`. */
export class SchemaOutdatedError extends BackieError {
  constructor(schema: string, found: number, needed: number) {
    super(
      `Schema ${quoted([schema])} ${found ? `has version ${found}` : 'does not hold the tables'}, ` +
        `but version ${needed} is needed. Run backieMigrations() with your own migrations, or set migrations: 'run'.`,
    );
  }
}

/** The store was used before it was connected or after it was closed. */
export class StoreClosedError extends BackieError {
  constructor() {
    super(`The task store is closed. Enqueue while the application is up, from onModuleInit until shutdown ends.`);
  }
}

/** A task cannot be put back because another live task holds its unique key. */
export class UniqueKeyTakenError extends BackieError {
  constructor(id: string, holder: string) {
    super(`Task ${id} cannot be retried: task ${holder} is live and has the same unique key. Cancel that one first.`);
  }
}

/** The database did not answer, several times over. Whether the call took effect is unknown. */
export class StoreUnavailableError extends BackieError {
  constructor(doing: string, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`Could not ${doing}: PostgreSQL does not answer (${reason}). Try again when it is back.`, { cause });
  }
}

/** A transaction that has not ended holds the unique key, so that it is not known whether the task is a duplicate. */
export class UniqueKeyPendingError extends BackieError {
  constructor(waitedMs: number, options?: ErrorOptions) {
    super(
      `A transaction that has enqueued a task with the same unique key has not ended for ${waitedMs} ms, so nothing was ` +
        `stored. Keep transactions that enqueue unique tasks short, or pass their manager to this enqueue too.`,
      options,
    );
  }
}
