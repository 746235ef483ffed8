import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, watch } from 'node:fs';
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { startEmbeddedPostgres } from '../../lib/embedded/index.js';
import {
  compileInto,
  connect,
  fast,
  initializedFolders,
  isRoot,
  isRunning,
  launchUserProcess,
  openFolder,
  parentOf,
  processesWith,
  query,
  removeFolder,
  serverPid,
  userProcess,
} from './support/world.js';

let folder: string;
let barrel: string;
let initialized: (name: string) => Promise<string>;

beforeAll(async () => {
  folder = await openFolder();
  barrel = await compileInto(folder);
  initialized = await initializedFolders(folder);
});
afterAll(() => removeFolder(folder));

/** Resolves once so many keepers, each of which is for one attempt to start the server, have been in the folder. */
function keepersSeen(dataDir: string, count: number): Promise<void> {
  const keepers = new Set<string>();
  return new Promise((resolve) => {
    const watcher = watch(join(dataDir, 'cluster'), (_event, name) => {
      const [keeper] = /^keeper-[0-9a-f-]+/.exec(name ?? '') ?? [];
      if (keeper === undefined || keepers.add(keeper).size < count) return;
      watcher.close();
      resolve();
    });
  });
}

it('ends a temporary server, and removes its folder, when its only user is killed', async () => {
  const user = await userProcess(barrel, { settings: fast });
  const { closed } = await connect(user.server.url);
  await user.kill();
  await closed;
  await expect.poll(() => existsSync(user.server.dataDir)).toBe(false);
  expect(await processesWith(user.server.dataDir)).toEqual([]);
});

it('clears away a temporary server whose user and keeper were both killed', async () => {
  // Of its own: whoever starts a server clears away what it finds in the folder that all share, so other tests would.
  const TMPDIR = join(folder, 'temporary');
  await mkdir(TMPDIR);
  const user = await userProcess(barrel, { settings: fast }, { env: { TMPDIR } });
  const { closed } = await connect(user.server.url);
  const keeper = parentOf(serverPid(user.server.dataDir));
  process.kill(keeper, 'SIGKILL');
  await user.kill();
  expect(existsSync(user.server.dataDir)).toBe(true);
  const next = await userProcess(barrel, { settings: fast }, { env: { TMPDIR } });
  await closed;
  expect(existsSync(user.server.dataDir)).toBe(false);
  await next.stop();
});

it('keeps a kept server a while for the next process when its user is killed, then ends it', async () => {
  const dataDir = await initialized('lingering');
  const killed = await userProcess(barrel, { dataDir, settings: fast, lingerMs: 20_000 });
  await killed.kill();
  const next = await startEmbeddedPostgres({ dataDir });
  expect(next).toMatchObject({ attached: true, url: killed.server.url });
  await query(next.url, 'SELECT 1');
  await next.stop();

  const last = await userProcess(barrel, { dataDir, settings: fast, lingerMs: 50 });
  const { closed } = await connect(last.server.url);
  await last.kill();
  await closed;
  await expect.poll(() => processesWith(dataDir)).toEqual([]);
});

it('starts again, with all committed data, after the server was killed', async () => {
  const dataDir = await initialized('crashed');
  const first = await startEmbeddedPostgres({ dataDir });
  const { client, closed } = await connect(first.url);
  await client.query('CREATE TABLE survivor AS SELECT 7 AS n');
  process.kill(serverPid(dataDir), 'SIGKILL');
  await closed;
  const second = await startEmbeddedPostgres({ dataDir });
  expect(second.attached).toBe(false);
  expect(await query(second.url, 'SELECT n FROM survivor')).toEqual([{ n: 7 }]);
  await first.stop();
  await query(second.url, 'SELECT 1');
  await second.stop();
  expect(await processesWith(dataDir)).toEqual([]);
});

it('takes over a server whose keeper was killed, on the same port', async () => {
  const dataDir = await initialized('orphaned');
  const first = await startEmbeddedPostgres({ dataDir, settings: fast });
  const orphan = serverPid(dataDir);
  const keeper = parentOf(orphan);
  process.kill(keeper, 'SIGKILL');
  await expect.poll(() => isRunning(keeper)).toBe(false);
  expect(isRunning(orphan)).toBe(true);

  const restart = () => startEmbeddedPostgres({ dataDir, settings: fast });
  const [second, third] = await Promise.all([restart(), restart()]);
  expect(isRunning(orphan)).toBe(false);
  expect(second.attached).not.toBe(third.attached);
  expect(second.url).toBe(first.url);
  await query(first.url, 'SELECT 1');
  await Promise.all([first.stop(), second.stop(), third.stop()]);
  expect(await processesWith(dataDir)).toEqual([]);
});

it('is not misled by a pid file whose process id went to another process', async () => {
  const dataDir = await initialized('reused');
  const pgdata = join(dataDir, 'cluster/pgdata');
  const { uid } = await stat(pgdata);
  const stranger = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { cwd: '/', ...(isRoot && { uid }) });
  await once(stranger, 'spawn');
  await writeFile(join(pgdata, 'postmaster.pid'), `${stranger.pid}\n${pgdata}\n1\n5432\n\n127.0.0.1\n\nready   \n`);

  const server = await startEmbeddedPostgres({ dataDir, settings: fast });
  await query(server.url, 'SELECT 1');
  await server.stop();
  expect(isRunning(stranger.pid ?? 0)).toBe(true);
  stranger.kill();
  await once(stranger, 'exit');
});

it('waits while another starter is writing the pid file', async () => {
  const dataDir = await initialized('begun');
  const pidFile = join(dataDir, 'cluster/pgdata/postmaster.pid');
  await writeFile(pidFile, '');
  const attempts = keepersSeen(dataDir, 3);
  const starting = startEmbeddedPostgres({ dataDir, settings: fast });
  await Promise.race([attempts, starting.then(() => expect.unreachable('It has not waited.'))]);
  await rm(pidFile, { force: true });
  const server = await starting;
  await query(server.url, 'SELECT 1');
  await server.stop();
});

it('begins again after it was killed in the middle of initdb', async () => {
  const dataDir = join(folder, 'interrupted');
  await mkdir(dataDir);
  const { child } = launchUserProcess(barrel, { dataDir, settings: fast });
  const midway = async () =>
    (await readdir(dataDir)).some((draft) => existsSync(join(dataDir, draft, 'pgdata/PG_VERSION')));
  await expect.poll(midway, { interval: 5, timeout: 20_000 }).toBe(true);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(await readdir(dataDir)).toEqual([expect.stringMatching(/^cluster\.new-/)]);

  const server = await startEmbeddedPostgres({ dataDir, settings: fast });
  expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  expect(await readdir(dataDir)).toEqual(['cluster']);
  await server.stop();
});

it('leaves nothing behind when the starter is killed while the server is starting', async () => {
  const dataDir = await initialized('impatient');
  const claimed = keepersSeen(dataDir, 1);
  const { child } = launchUserProcess(barrel, { dataDir, settings: fast, lingerMs: 0 });
  await claimed;
  child.kill('SIGKILL');
  await once(child, 'exit');
  await expect.poll(() => processesWith(dataDir), { timeout: 15_000 }).toEqual([]);
});
