import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { chmod, mkdir, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { type EmbeddedPostgres, EmbeddedPostgresError, startEmbeddedPostgres } from '../../lib/embedded/index.js';
import { findFreePort } from '../../lib/embedded/free-port.finder.js';
import { KeeperConnection } from '../../lib/embedded/keeper.connection.js';
import { BackieError } from '../../lib/errors/backie.error.js';
import {
  fast,
  initializedFolders,
  isRoot,
  isRunning,
  openFolder,
  parentOf,
  processesWith,
  query,
  removeFolder,
  serverPid,
} from './support/world.js';

const debian = '/usr/lib/postgresql/15/bin';
let folder: string;
let initialized: (name: string) => Promise<string>;
let running: EmbeddedPostgres[] = [];

async function start(options: Parameters<typeof startEmbeddedPostgres>[0]) {
  const server = await startEmbeddedPostgres(options);
  running.push(server);
  return server;
}

async function failing(options: Parameters<typeof startEmbeddedPostgres>[0]): Promise<string> {
  const error: unknown = await start(options).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(EmbeddedPostgresError);
  expect(error).toBeInstanceOf(BackieError);
  expect(error).toMatchObject({ name: 'EmbeddedPostgresError' });
  return error instanceof Error ? error.message : '';
}

beforeAll(async () => {
  folder = await openFolder();
  initialized = await initializedFolders(folder);
});
afterEach(async () => {
  for (const server of running) await server.stop();
  running = [];
});
afterAll(() => removeFolder(folder));

describe('a temporary server', () => {
  let server: EmbeddedPostgres;
  beforeAll(async () => void (server = await startEmbeddedPostgres({ settings: { ...fast, work_mem: '7MB' } })));
  afterAll(() => server.stop());

  it('answers queries, in UTF-8, with time zones and the given settings', async () => {
    const rows = await query(
      server.url,
      `SELECT current_setting('server_encoding') AS encoding, current_setting('work_mem') AS work_mem, lower('ÄÖ') <> ''
       AS lower, timestamptz '2026-07-01 12:00 Europe/Berlin' = timestamptz '2026-07-01 10:00Z' AS zones, 'é' < 'z' AS c`,
    );
    expect(rows).toEqual([{ encoding: 'UTF8', work_mem: '7MB', lower: true, zones: true, c: false }]);
    expect(server).toMatchObject({ attached: false, url: expect.stringContaining(`@127.0.0.1:${server.port}/`) });
  });

  it('lets nobody in without its password', async () => {
    const wrong = server.url.replace(/:[^:@]+@/, ':wrong@');
    await expect(query(wrong, 'SELECT 1')).rejects.toThrow(/password authentication failed/);
    expect(statSync(join(server.dataDir, 'cluster/password')).mode & 0o777).toBe(0o600);
    expect(statSync(join(server.dataDir, 'cluster/pgdata')).mode & 0o777).toBe(0o700);
  });

  it('listens on 127.0.0.1 only, whatever the settings say', async () => {
    expect(await query(server.url, 'SHOW listen_addresses')).toEqual([{ listen_addresses: '127.0.0.1' }]);
    const outside = Object.values(networkInterfaces())
      .flat()
      .find((address) => address && !address.internal && address.family === 'IPv4');
    if (outside) {
      const client = new Client({ host: outside.address, port: server.port });
      await expect(client.connect()).rejects.toThrow('ECONNREFUSED');
    }
  });

  it.runIf(isRoot)('does not run as root', async () => {
    expect((await stat(`/proc/${serverPid(server.dataDir)}`)).uid).not.toBe(0);
  });
});

it('leaves neither a process nor its temporary folder behind', async () => {
  const server = await start({ settings: fast });
  const pids = [serverPid(server.dataDir), parentOf(serverPid(server.dataDir))];
  expect(pids.map(isRunning)).toEqual([true, true]);
  await server.stop();
  await server.stop();
  expect(pids.map(isRunning)).toEqual([false, false]);
  expect(existsSync(server.dataDir)).toBe(false);
  expect(await processesWith(server.dataDir)).toEqual([]);
});

it('keeps the data of a named folder, with fsync on, and has the next server say where it is', async () => {
  const dataDir = join(folder, 'made', 'kept');
  const first = await start({ dataDir });
  await query(first.url, 'CREATE TABLE kept AS SELECT 42 AS n');
  expect(await query(first.url, 'SHOW fsync')).toEqual([{ fsync: 'on' }]);
  await first.stop();
  expect(await processesWith(dataDir)).toEqual([]);

  const port = await findFreePort();
  const second = await start({ dataDir, port, settings: fast });
  expect(second).toMatchObject({ port, attached: false });
  expect(await query(second.url, 'SELECT n FROM kept')).toEqual([{ n: 42 }]);
});

it('keeps its socket elsewhere when the folder has too long a name for one', async () => {
  const dataDir = await initialized('long'.repeat(30));
  const first = await start({ dataDir, settings: fast });
  const second = await start({ dataDir });
  expect([first.attached, second.attached]).toEqual([false, true]);
});

it.runIf(existsSync(debian))('runs the binaries of another installation: PostgreSQL 15', async () => {
  const server = await start({ binDir: debian, settings: fast });
  const [row] = await query(server.url, "SELECT current_setting('server_version') AS v, getdatabaseencoding() AS e");
  expect(row).toEqual({ v: expect.stringMatching(/^15\./), e: 'UTF8' });
});

/** A keeper that listens; its server fails as soon as it is started. */
async function keeperOfFailingServer(name: string): Promise<{ address: string; ended: Promise<unknown> }> {
  const claim = join(folder, name);
  const address = `${claim}.sock`;
  const order = { postgres: '/bin/false', args: [], port: 1, pgdata: folder, claim, address, lingerMs: 0 };
  const script = fileURLToPath(new URL('../../lib/embedded/keeper.process.js', import.meta.url));
  const keeper = spawn(process.execPath, [script, JSON.stringify(order)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(keeper, 'exit');
  await once(keeper.stdout, 'data');
  return { address, ended };
}

describe('what cannot work is said in an error', () => {
  it('a port in use, and a server that does not start, with the end of its log', async () => {
    const dataDir = await initialized('failing');
    const occupant = createServer();
    const port = await findFreePort();
    await new Promise<void>((resolve) => occupant.listen(port, '127.0.0.1', resolve));
    expect(await failing({ dataDir, port })).toContain(`Port ${port} on 127.0.0.1 is in use`);
    await new Promise((resolve) => occupant.close(resolve));

    expect(await failing({ dataDir, settings: { no_such_setting: '1' } })).toMatch(
      /did not start\. The end of its log:\n.*unrecognized configuration parameter "no_such_setting"/,
    );
    expect(await processesWith(dataDir)).toEqual([]);

    const server = await start({ dataDir, port });
    expect(await failing({ dataDir, port: port + 1 })).toContain(`already served on port ${port}, not ${port + 1}`);
    await query(server.url, 'SELECT 1');
  });

  it('a server that fails at once, although its starter is slow to connect', async () => {
    const failed = { failed: 'The server ended with code 1.' };
    const { address } = await keeperOfFailingServer('keeper-0');
    // Slow: another keeper's server fails meanwhile, and that keeper ends.
    const other = await keeperOfFailingServer('keeper-1');
    const prompt = await KeeperConnection.open(other.address);
    expect(await prompt?.greeted(10_000)).toEqual(failed);
    await Promise.all([prompt?.leave(), other.ended]);

    const connection = await KeeperConnection.open(address);
    expect(await connection?.greeted(10_000)).toEqual(failed);
    await connection?.leave();
    await expect.poll(() => existsSync(address)).toBe(false);
  });

  it('a folder without PostgreSQL', async () => {
    expect(await failing({ binDir: folder })).toMatch(/programs in .* do not run.*ENOENT/s);
  });

  it('a data folder that is a file', async () => {
    expect(await failing({ dataDir: '/etc/passwd' })).toContain('/etc/passwd cannot be made');
  });
});

it.runIf(isRoot)('keeps the data of a folder that the server cannot reach among the temporary ones', async () => {
  const closed = join(folder, 'closed');
  await mkdir(closed);
  await chmod(closed, 0o700);
  const dataDir = join(closed, 'data');
  const first = await startEmbeddedPostgres({ dataDir, settings: fast });
  await query(first.url, 'CREATE TABLE kept ()');
  await first.stop();
  expect(first.dataDir).not.toContain(closed);
  const second = await startEmbeddedPostgres({ dataDir, settings: fast });
  await query(second.url, 'SELECT FROM kept');
  await second.stop();
  expect(second.dataDir).toBe(first.dataDir);
  await removeFolder(first.dataDir);
});
