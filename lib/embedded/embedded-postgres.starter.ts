import { readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { ensureCluster } from './cluster.initializer.js';
import { type ClusterLayout, clusterLayout } from './cluster.layout.js';
import { keptFolder, sweepTemporaryFolders, temporaryFolder } from './data-folder.factory.js';
import { EmbeddedPostgresError } from './embedded-postgres.error.js';
import type { EmbeddedPostgres, EmbeddedPostgresOptions } from './embedded-postgres.interface.js';
import { findFreePort, isPortFree } from './free-port.finder.js';
import { findKeeper, type KeeperConnection } from './keeper.connection.js';
import { launchKeeper } from './keeper.launcher.js';
import { resolveBinaries } from './postgres-binaries.resolver.js';
import { endPostmaster, findPostmaster, type Postmaster } from './postmaster.process.js';
import { resolveServerUser } from './server-user.resolver.js';

interface Joined {
  connection: KeeperConnection;
  port: number;
  attached: boolean;
}

/** Another server has or takes the folder, or a killed one's processes are not all gone: joining or waiting helps. */
const passing = /lock file ".*" (already exists|is empty)|pre-existing shared memory block/;

/**
 * Starts a PostgreSQL server for development and tests, or joins the one that already serves the folder.
 *
 * - A server runs while somebody uses it. `stop()` by the last user ends it, and a temporary folder with it.
 * - A user that dies without `stop()`, by `kill -9` too, counts as gone: a temporary server ends at once, a kept one
 *   after `lingerMs` unless somebody attaches. A user need not call `stop()` in order to exit.
 * - The server listens on 127.0.0.1 only, behind a random password that lies in the data folder, readable by its owner.
 * - Called by root, the server runs as `postgres` or `nobody`, or as the owner of existing data.
 *
 * @throws EmbeddedPostgresError when there are no binaries for this machine, the port is taken, or the server does not
 *   start; nothing is left running then, and no temporary folder.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions = {}): Promise<EmbeddedPostgres> {
  const temporary = options.dataDir === undefined;
  const dataDir = options.dataDir === undefined ? await temporaryFolder() : await keptFolder(options.dataDir);
  try {
    const layout = clusterLayout(dataDir);
    return await handle(await joinServer(layout, options, temporary), layout);
  } catch (error) {
    if (temporary) await rm(dataDir, { recursive: true, force: true, maxRetries: 5 });
    if (error instanceof EmbeddedPostgresError) throw error;
    throw new EmbeddedPostgresError(unexpected(dataDir, error), { cause: error });
  }
}

async function handle({ connection, port, attached }: Joined, layout: ClusterLayout): Promise<EmbeddedPostgres> {
  const password = await readFile(layout.password, 'utf8').catch(async (error: unknown) => {
    await connection.leave();
    throw error;
  });
  connection.unref();
  let stopped: Promise<void> | undefined;
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    port,
    dataDir: layout.dataDir,
    attached,
    stop: () => (stopped ??= connection.leave()),
  };
}

/**
 * Joins a live server, else starts one, until one of the two succeeds. No lock is taken: PostgreSQL itself lets only one
 * server have a folder, so of two starters one fails, and then finds the other's server to join.
 */
async function joinServer(
  layout: ClusterLayout,
  options: EmbeddedPostgresOptions,
  temporary: boolean,
): Promise<Joined> {
  const { startTimeoutMs = 60_000 } = options;
  const deadline = Date.now() + startTimeoutMs;
  let port = options.port;
  let log = '';
  for (; Date.now() < deadline; await delay(20)) {
    // In this order: a keeper makes its claim before its server exists, so a server without one has lost its keeper.
    const running = await findPostmaster(layout.pgdata);
    const found = await findKeeper(layout.cluster);
    if (found) {
      const news = await found.greeted(deadline - Date.now());
      if (news === 'late' || !news || !('port' in news)) continue;
      // A keeper whose server was killed a moment ago may not know it yet.
      if (await findPostmaster(layout.pgdata)) return attach(found, news.port, options);
      found.abandon();
      continue;
    }

    // Users of a server that lost its keeper find the new one where the old one was.
    port ??= running?.port;
    port ??= await findFreePort();
    const connection = await launch(layout, options, { running, port, temporary });
    const news = await connection.greeted(deadline - Date.now());
    if (news === 'late') break;
    if (news && 'port' in news) return { connection, port, attached: false };
    log = news?.failed ?? '';
    if (passing.test(log)) continue;
    if (await isPortFree(port)) throw new EmbeddedPostgresError(failure(layout, log));
    if (options.port !== undefined) throw new EmbeddedPostgresError(portTaken(options.port));
    port = undefined;
  }
  throw new EmbeddedPostgresError(
    `The embedded PostgreSQL in ${layout.dataDir} was not ready within ${startTimeoutMs} ms. ` +
      `If it recovers much data after a crash, set a longer \`startTimeoutMs\`.${endOf(log)}`,
  );
}

function attach(connection: KeeperConnection, port: number, options: EmbeddedPostgresOptions): Joined {
  if (options.port === undefined || options.port === port) return { connection, port, attached: true };
  connection.abandon();
  throw new EmbeddedPostgresError(
    `The data folder ${options.dataDir} is already served on port ${port}, not ${options.port}. ` +
      'Leave `port` out to attach to that server, or stop its users first.',
  );
}

interface Launch {
  running: Postmaster | undefined;
  port: number;
  temporary: boolean;
}

async function launch(
  layout: ClusterLayout,
  { binDir, settings = {}, lingerMs = 10_000 }: EmbeddedPostgresOptions,
  { running, port, temporary }: Launch,
): Promise<KeeperConnection> {
  const user = await resolveServerUser(layout.pgdata);
  const binaries = await resolveBinaries(binDir, user);
  if (running) await endPostmaster(running, layout.pgdata, binaries, user);
  if (temporary) await sweepTemporaryFolders(dirname(layout.dataDir), binaries, user);
  await ensureCluster(layout, { binaries, user, durable: !temporary && settings['fsync'] !== 'off' });
  return launchKeeper({ layout, binaries, user, port, settings, temporary, lingerMs });
}

function unexpected(dataDir: string, error: unknown): string {
  const closed = error instanceof Error && 'code' in error && (error.code === 'EACCES' || error.code === 'EPERM');
  const hint = closed ? ' It belongs to another account: use that one, or another dataDir.' : '';
  return `The embedded PostgreSQL in ${dataDir} could not be used: ${String(error)}.${hint}`;
}

function failure({ dataDir }: ClusterLayout, log: string): string {
  return `The embedded PostgreSQL in ${dataDir} did not start.${endOf(log)}`;
}

function endOf(log: string): string {
  return log && ` The end of its log:\n${log.trimEnd().split('\n').slice(-20).join('\n')}`;
}

function portTaken(port: number): string {
  return `Port ${port} on 127.0.0.1 is in use. Name another \`port\`, or none to have a free one chosen.`;
}
