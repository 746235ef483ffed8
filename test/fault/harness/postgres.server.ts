import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, createWriteStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { runCommand } from '../../../lib/embedded/command.runner.js';
import { findFreePort } from '../../../lib/embedded/free-port.finder.js';
import { resolveBinaries } from '../../../lib/embedded/postgres-binaries.resolver.js';
import { resolveServerUser } from '../../../lib/embedded/server-user.resolver.js';
import type { Guardian } from './guardian.js';
import { until } from './polling.js';

export type Settings = Readonly<Record<string, string>>;
type StopMode = 'fast' | 'immediate';

/** Faults kill processes, not machines, so that a crash of the server loses nothing without fsync. */
const defaults: Settings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  fsync: 'off',
  full_page_writes: 'off',
  max_connections: '100',
  log_min_messages: 'warning',
  log_min_error_statement: 'panic',
  shared_buffers: '64MB',
};

/**
 * A PostgreSQL that a fault may stop, restart and set up anew: its processes are ours alone. The binaries are those of
 * `BACKIE_TEST_PG_BIN`, else the embedded ones.
 */
export class PostgresServer {
  private child: ChildProcess | undefined;

  static async start(guardian: Guardian, settings: Settings = {}): Promise<PostgresServer> {
    const user = await resolveServerUser();
    const binaries = await resolveBinaries(process.env['BACKIE_TEST_PG_BIN'] || undefined, user);
    const folder = mkdtempSync(join(tmpdir(), 'backie-fault-'));
    guardian.guardFolder(folder);
    if (user) chownSync(folder, user.uid, user.gid);
    chmodSync(folder, 0o700);
    const args = ['-D', join(folder, 'data'), '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
    const { ok, output } = await runCommand(binaries.initdb, args, user);
    if (!ok) throw new Error(`initdb failed:\n${output}`);
    const server = new PostgresServer(guardian, binaries.postgres, user, folder, await findFreePort(), settings);
    await server.start();
    return server;
  }

  private constructor(
    private readonly guardian: Guardian,
    private readonly program: string,
    private readonly user: { readonly uid: number; readonly gid: number } | undefined,
    private readonly folder: string,
    readonly port: number,
    private readonly settings: Settings,
  ) {}

  url(database: string, user = 'postgres', port = this.port): string {
    return `postgres://${user}@127.0.0.1:${port}/${database}`;
  }

  /** Resolves when the server takes connections. */
  async start(): Promise<void> {
    const settings = Object.entries({ ...defaults, ...this.settings, port: String(this.port) });
    const child = spawn(
      this.program,
      ['-D', join(this.folder, 'data'), ...settings.flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      { cwd: '/', stdio: ['ignore', 'pipe', 'pipe'], detached: true, ...this.user },
    );
    this.guardian.guard(child);
    const log = createWriteStream(this.logFile, { flags: 'a' });
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    child.once('exit', () => {
      log.end();
      if (this.child === child) this.child = undefined;
    });
    this.child = child;
    await until(
      'the server',
      () => this.sql('SELECT 1'),
      () => true,
      60_000,
      20,
    );
  }

  async stop(mode: StopMode = 'fast'): Promise<void> {
    const { child } = this;
    if (!child) return;
    const exited = once(child, 'exit');
    child.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    await exited;
  }

  async restart(mode: StopMode = 'fast'): Promise<void> {
    await this.stop(mode);
    await this.start();
  }

  /** Runs one statement as superuser, past every proxy; superusers have connections reserved. */
  async sql<Row extends object>(text: string, values: unknown[] = [], database = 'postgres'): Promise<Row[]> {
    const client = new Client({ connectionString: this.url(database), connectionTimeoutMillis: 5_000 });
    // A server that stops ends this connection too.
    client.on('error', () => {});
    await client.connect();
    try {
      return (await client.query(text, values)).rows as Row[];
    } finally {
      await client.end();
    }
  }

  get log(): string {
    return readFileSync(this.logFile, 'utf8');
  }

  async close(): Promise<void> {
    await this.stop('immediate');
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  private get logFile(): string {
    return join(this.folder, 'log');
  }
}
