import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { findFreePort } from '../../../lib/embedded/free-port.finder.js';
import { resolveServerUser } from '../../../lib/embedded/server-user.resolver.js';
import type { Guardian } from './guardian.js';
import { until } from './polling.js';

const program = ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer', '/opt/homebrew/bin/pgbouncer'].find(existsSync);

/** PgBouncer in transaction mode, before a PostgreSQL on this machine. */
export class PgBouncer {
  static get missing(): string | undefined {
    return program ? undefined : 'pgbouncer is not installed (apt-get install pgbouncer)';
  }

  static async start(guardian: Guardian, upstream: number, user: string, poolSize: number): Promise<PgBouncer> {
    if (!program) throw new Error(PgBouncer.missing);
    const account = await resolveServerUser();
    const folder = mkdtempSync(join(tmpdir(), 'backie-bouncer-'));
    guardian.guardFolder(folder);
    const port = await findFreePort();
    const settings = {
      listen_addr: '127.0.0.1',
      listen_port: port,
      unix_socket_dir: '',
      auth_type: 'any',
      pool_mode: 'transaction',
      default_pool_size: poolSize,
      max_client_conn: 200,
      ignore_startup_parameters: 'extra_float_digits',
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
    const file = join(folder, 'pgbouncer.ini');
    const databases = `[databases]\n* = host=127.0.0.1 port=${upstream} user=${user}\n`;
    writeFileSync(file, `${databases}[pgbouncer]\n${lines.join('\n')}\n`);
    chmodSync(folder, 0o755);
    if (account) chownSync(file, account.uid, account.gid);
    const child = spawn(program, ['-q', file], { cwd: '/', stdio: 'ignore', detached: true, ...account });
    guardian.guard(child);
    const bouncer = new PgBouncer(child, folder, port);
    await until(
      'PgBouncer',
      () => bouncer.greet(user),
      () => true,
      10_000,
    );
    return bouncer;
  }

  private constructor(
    private readonly child: ChildProcess,
    private readonly folder: string,
    readonly port: number,
  ) {}

  async close(): Promise<void> {
    const exited = once(this.child, 'exit');
    if (this.child.exitCode === null && this.child.kill('SIGKILL')) await exited;
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async greet(user: string): Promise<void> {
    const client = new Client({ connectionString: `postgres://${user}@127.0.0.1:${this.port}/postgres` });
    client.on('error', () => {});
    await client.connect();
    await client.end();
  }
}
