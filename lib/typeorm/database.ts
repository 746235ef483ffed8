import { setImmediate } from 'node:timers/promises';
import type { Pool, PoolClient } from 'pg';
import { DataSource } from 'typeorm';
import { InvalidOptionsError } from '../errors/configuration.errors.js';
import { StoreClosedError } from '../errors/store.errors.js';
import type { PostgresOptions } from './connection-options.js';
import { clientTimeoutMs, connectionOf, queryByDriver, speaksProtocol } from './driver-query.js';
import { isConflict, isLostStatement, isReadOnly, isServerError } from './postgres-errors.js';
import { setUpSession } from './session-settings.js';
import { Sessions } from './sessions.js';
import { knows, type Step, TextQuery, type TextRow } from './text-query.js';

/** A statement and the name under which its plan is kept. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** Runs statements: on the engine's own connections, or in a caller's transaction. */
export type Run = (statement: Statement, values: readonly unknown[]) => Promise<readonly TextRow[]>;

const conflictTries = 5;
const closeTimeoutMs = 1_500;

const begin: Statement = { name: 'backie_begin', text: 'BEGIN' };
const commit: Statement = { name: 'backie_commit', text: 'COMMIT' };
const rollback: Statement = { name: '', text: 'ROLLBACK' };

/**
 * The engine's own connections to PostgreSQL, opened through a TypeORM DataSource and used through its driver's pool:
 * that knows named statements, whose plans PostgreSQL keeps, and gives rows without a copy.
 */
export class Database {
  readonly dataSource: DataSource;
  private readonly prepared = new WeakSet<PoolClient>();
  private opened: Sessions | undefined;
  /** Behind a transaction pooler named statements and settings would be another session's. */
  private pooled = false;
  private named = true;
  /** Nothing would tell that a crash has forgotten something. */
  private keepsUnlogged = false;

  constructor(readonly options: PostgresOptions) {
    this.dataSource = dataSourceOf(options);
  }

  async open(): Promise<void> {
    await this.dataSource.initialize();
    this.opened = new Sessions(this.pool);
  }

  /** Waits a moment for what is under way; what does not answer then is left to its timeout. */
  async close(): Promise<void> {
    if (!this.dataSource.isInitialized) return;
    this.opened?.close();
    this.opened = undefined;
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, closeTimeoutMs);
    });
    await Promise.race([this.dataSource.destroy(), patience]);
    clearTimeout(timer);
  }

  /** Whether a transaction pooler stands between us and the server, as far as the connections made so far tell. */
  get behindPooler(): boolean {
    return this.pooled;
  }

  /** The driver's pool: its options also make connections apart from it. */
  get pool(): Pool {
    if (!this.dataSource.isInitialized) throw new StoreClosedError();
    return (this.dataSource.driver as unknown as { master: Pool }).master;
  }

  private get sessions(): Sessions {
    if (!this.dataSource.isInitialized || !this.opened) throw new StoreClosedError();
    return this.opened;
  }

  /** Runs one statement in a transaction of its own; tries again when it lost against another transaction. */
  readonly run: Run = (statement, values) => this.withConnection((run) => run(statement, values));

  /**
   * Runs a statement that does not wait for the disk, and `flush`, which does. A session that knows both gets them in one
   * write, so that whoever waits for the disk waits no longer than without. It must be the same session, which no crash of
   * the server survives: another one could be told that all is on the disk when what matters is forgotten. A pooler gives
   * any session, so that there the statement's own commit waits.
   *
   * @param values Those of the statement that need not wait for the disk, or that waits.
   * @param committed Told the rows as soon as the statement's transaction is over, and others see what it has done.
   * @returns The rows, once that is on the disk.
   */
  runAhead(
    statement: Statement,
    values: (ahead: boolean) => readonly unknown[],
    flush: Statement,
    committed: (rows: readonly TextRow[]) => void,
  ): Promise<readonly TextRow[]> {
    let result: readonly TextRow[] | undefined;
    const done = (rows: readonly TextRow[]) => {
      const seen = (result = [...rows]);
      // What a caller throws must not reach the driver in the midst of its messages.
      queueMicrotask(() => committed(seen));
    };
    return this.withConnection(async (run, lost, client) => {
      if (this.pooled) {
        if (result) throw sessionGone();
        const rows = await run(statement, values(false));
        done(rows);
        return rows;
      }
      const inOne = this.named && speaksProtocol(client);
      const steps: [Step, ...Step[]] = [
        { statement: begin, values: [] },
        { statement, values: values(true) },
        { statement: commit, values: [], done },
        { statement: flush, values: [] },
      ];
      try {
        if (inOne && !result && steps.every((step) => knows(connectionOf(client), step.statement))) {
          return await this.send(client, steps);
        }
        if (!result) {
          if (inOne) await run(begin, []);
          const rows = await run(statement, values(true));
          if (inOne) await run(commit, []);
          done(rows);
        }
        await run(flush, []);
        return result ?? [];
      } catch (error) {
        if (inOne) await this.rollBack(run, lost, error);
        throw error;
      }
    });
  }

  /**
   * Runs a statement that may not wait for the disk, and `flush` on the same session, when whoever got the rows has had
   * time to begin with them.
   *
   * @param values Those of the statement that need not wait for the disk, or that waits.
   * @param isAhead Whether the statement has not waited, by its rows.
   * @returns The rows; and, if it has not waited, what resolves once they are on the disk, and rejects when nobody knows.
   */
  runEarly(
    statement: Statement,
    values: (ahead: boolean) => readonly unknown[],
    flush: Statement,
    isAhead: (rows: readonly TextRow[]) => boolean,
  ): Promise<{ rows: readonly TextRow[]; durable?: Promise<void> }> {
    return new Promise((resolve, reject) => {
      let rows: readonly TextRow[] | undefined;
      const durable = this.withConnection(async (run) => {
        if (rows) throw sessionGone();
        rows = await run(statement, values(!this.pooled && !this.keepsUnlogged));
        if (!isAhead(rows)) return resolve({ rows });
        resolve({ rows, durable });
        await setImmediate();
        await run(flush, []);
      });
      durable.catch(reject);
    });
  }

  /** Runs several statements in one transaction. */
  transaction<Result>(work: (run: Run) => Promise<Result>): Promise<Result> {
    return this.withConnection(async (run, lost) => {
      await run(begin, []);
      try {
        const result = await work(run);
        await run(commit, []);
        return result;
      } catch (error) {
        await this.rollBack(run, lost, error);
        throw error;
      }
    });
  }

  /** A connection that has not answered is not asked again: it is destroyed, as is one that cannot roll back. */
  private async rollBack(run: Run, lost: () => void, error: unknown): Promise<void> {
    if (isServerError(error)) await run(rollback, []).catch(lost);
    else lost();
  }

  /**
   * Ends the session of a connection that is not of this pool, so that the server does not wait for a process or a
   * network that is gone. A pooler's sessions are other applications' too, and end by themselves. Never rejects.
   */
  async terminate(client: PoolClient): Promise<void> {
    if (this.pooled) return;
    const { processID } = client as unknown as { processID?: number | null };
    await this.run({ name: '', text: 'SELECT pg_terminate_backend($1::int)' }, [processID ?? null]).catch(() => {});
  }

  /** @param work May say by `lost` that the connection is of no use any more. */
  private async withConnection<Result>(
    work: (run: Run, lost: () => void, client: PoolClient) => Promise<Result>,
  ): Promise<Result> {
    for (let tries = 1; ; tries++) {
      const { sessions } = this;
      const client = await sessions.take();
      let broken = false;
      try {
        if (!this.prepared.has(client)) await this.prepare(client);
        return await work(
          (statement, values) => this.query(client, statement, values),
          () => sessions.condemn(client),
          client,
        );
      } catch (error) {
        if (isLostStatement(error) && this.named) {
          // A pooler that the first look did not show: go on without names.
          this.named = false;
          this.pooled = true;
          continue;
        }
        // A session that was opened while the database was read-only stays so.
        broken = !isServerError(error) || isReadOnly(error);
        if (isConflict(error) && tries < conflictTries) continue;
        throw error;
      } finally {
        sessions.giveBack(client, broken);
      }
    }
  }

  private query(client: PoolClient, statement: Statement, values: readonly unknown[]): Promise<readonly TextRow[]> {
    const named = this.named ? statement : { name: '', text: statement.text };
    if (!speaksProtocol(client)) return queryByDriver(client, named, values);
    return this.send(client, [{ statement: named, values }]);
  }

  private send(client: PoolClient, steps: readonly [Step, ...Step[]]): Promise<readonly TextRow[]> {
    return new Promise((resolve, reject) => {
      client.query(
        new TextQuery(steps, clientTimeoutMs, (error, rows) => {
          if (error) reject(error);
          else resolve(rows);
        }),
      );
    });
  }

  private async prepare(client: PoolClient): Promise<void> {
    const { pooled, keepsUnlogged } = await setUpSession(client);
    if (pooled) {
      this.pooled = true;
      this.named = false;
    }
    this.keepsUnlogged = keepsUnlogged;
    this.prepared.add(client);
  }
}

/** @throws InvalidOptionsError for a URL whose user or password TypeORM cannot decode; it is not shown. */
function dataSourceOf(options: PostgresOptions): DataSource {
  try {
    return new DataSource(options);
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    throw new InvalidOptionsError(
      `BackieModule's connection is a URL with a "%" that begins no code. Write "%" in a user or password as "%25".`,
    );
  }
}

/** A pooler that shows itself only now has given the session of what is to be flushed to others. */
function sessionGone(): Error {
  return Object.assign(new Error('The session that was to be flushed is gone.'), { code: 'ECONNRESET' });
}
