import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join, parse } from 'node:path';
import { fileURLToPath } from 'node:url';

import { childEnvironment } from './child-environment.factory.js';
import type { ClusterLayout } from './cluster.layout.js';
import { EmbeddedPostgresError } from './embedded-postgres.error.js';
import { claimPrefix, KeeperConnection } from './keeper.connection.js';
import type { PostgresBinaries } from './postgres-binaries.resolver.js';
import type { ServerUser } from './server-user.resolver.js';

/** The server that a keeper is asked to start and look after. */
export interface ServerPlan {
  layout: ClusterLayout;
  binaries: PostgresBinaries;
  user: ServerUser | undefined;
  port: number;
  settings: Record<string, string>;
  temporary: boolean;
  lingerMs: number;
}

/** The kernel's bound on a socket's path, 104 bytes on macOS and 108 on Linux, less the final zero. */
const longestAddress = 103;

/**
 * Starts a keeper in a session of its own, out of reach of this terminal's Ctrl-C, and joins it as its first user.
 *
 * @throws EmbeddedPostgresError when the keeper itself does not run; how its server does, its news will tell.
 */
export async function launchKeeper(plan: ServerPlan): Promise<KeeperConnection> {
  const { layout, binaries, user, port, temporary, lingerMs } = plan;
  const claim = join(layout.cluster, `${claimPrefix}${randomUUID()}`);
  const address = socketAddress(claim);
  const order = {
    postgres: binaries.postgres,
    pgCtl: binaries.pgCtl,
    args: serverArguments(plan),
    user,
    port,
    pgdata: layout.pgdata,
    log: layout.log,
    claim,
    address,
    temporaryDir: temporary ? layout.dataDir : undefined,
    lingerMs,
  };
  await spawnKeeper(JSON.stringify(order));
  const connection = await KeeperConnection.open(address);
  if (!connection) throw new EmbeddedPostgresError('The process that keeps the embedded PostgreSQL ended at once.');
  return connection;
}

/** Ours come last, so that no setting opens the server to more than this machine. */
function serverArguments({ layout, port, settings }: ServerPlan): string[] {
  const all = { ...settings, listen_addresses: '127.0.0.1', port: String(port), unix_socket_directories: '' };
  return ['-D', layout.pgdata, ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])];
}

function socketAddress(claim: string): string {
  if (process.platform === 'win32') return `\\\\.\\pipe\\backie-${randomUUID()}`;
  const beside = `${claim}.sock`;
  return Buffer.byteLength(beside) <= longestAddress ? beside : join(tmpdir(), `backie-${randomUUID()}.sock`);
}

function spawnKeeper(order: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const script = fileURLToPath(new URL('./keeper.process.js', import.meta.url));
    const child = spawn(process.execPath, [script, order], {
      cwd: parse(process.execPath).root,
      detached: true,
      env: { ...childEnvironment(), ELECTRON_RUN_AS_NODE: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
      windowsHide: true,
    });
    let complaint = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
    child.stdout.once('data', () => {
      child.stdout.destroy();
      child.stderr.destroy();
      child.unref();
      resolve();
    });
    const fail = (reason: string) =>
      reject(
        new EmbeddedPostgresError(`The process that keeps the embedded PostgreSQL could not be started:\n${reason}`),
      );
    child.once('error', (error) => fail(error.message));
    child.once('close', () => fail(complaint));
  });
}
