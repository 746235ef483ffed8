import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { startEmbeddedPostgres } from '../../lib/embedded/index.js';
import {
  compileInto,
  connect,
  fast,
  initializedFolders,
  isRoot,
  nobody,
  openFolder,
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

it('goes on for the others when one user stops, and ends with the last one', async () => {
  const dataDir = await initialized('shared');
  const first = await userProcess(barrel, { dataDir, settings: fast });
  const before = performance.now();
  const second = await startEmbeddedPostgres({ dataDir });
  const third = await startEmbeddedPostgres({ dataDir: join(folder, 'x', '..', 'shared') });
  expect(performance.now() - before).toBeLessThan(1_000);
  expect([first.server.attached, second.attached, third.attached]).toEqual([false, true, true]);
  expect(second.url).toBe(first.server.url);

  const { closed } = await connect(second.url);
  await first.stop();
  await third.stop();
  await query(second.url, 'SELECT 1');
  await second.stop();
  await closed;
  expect(await processesWith(dataDir)).toEqual([]);
});

it('starts one server for processes that start at once, on an empty folder and on a full one', async () => {
  const dataDir = join(folder, 'raced');
  for (const round of [1, 2]) {
    const users = await Promise.all([1, 2].map(() => userProcess(barrel, { dataDir, settings: fast })));
    const attached = users.map(({ server }) => String(server.error ?? server.attached));
    expect(attached.sort(), `round ${round}`).toEqual(['false', 'true']);
    expect(new Set(users.map(({ server }) => server.url)).size).toBe(1);
    const pid = serverPid(dataDir);
    for (const { server } of users) await query(server.url, 'SELECT 1');
    await Promise.all(users.map((user) => user.stop()));
    expect(await processesWith(dataDir)).toEqual([]);
    expect(pid).toBeGreaterThan(0);
  }
});

it('starts anew for a user that comes while the server is stopping', async () => {
  const dataDir = await initialized('stopping');
  const first = await startEmbeddedPostgres({ dataDir, settings: fast });
  const [, second] = await Promise.all([first.stop(), startEmbeddedPostgres({ dataDir, settings: fast })]);
  await query(second.url, 'SELECT 1');
  await second.stop();
  expect(await processesWith(dataDir)).toEqual([]);
});

it('lets a process exit that forgot to stop', async () => {
  const user = await userProcess(barrel, { settings: fast });
  const { closed } = await connect(user.server.url);
  user.child.stdin!.destroy();
  await closed;
  await expect.poll(() => processesWith(user.server.dataDir)).toEqual([]);
});

it.runIf(isRoot)("serves an ordinary user, and root runs that user's server as the user", async () => {
  const dataDir = join(folder, 'ordinary');
  // The checkout's node_modules may lie behind a folder that only root may enter.
  await mkdir(join(folder, 'reachable'));
  const reachable = await compileInto(join(folder, 'reachable'), { ownPackage: true });
  const user = await userProcess(reachable, { dataDir, settings: fast }, { ...nobody, env: { TMPDIR: folder } });
  expect(user.server.error).toBeUndefined();
  const attached = await startEmbeddedPostgres({ dataDir });
  expect(attached.attached).toBe(true);
  await attached.stop();
  await user.stop();

  const own = await startEmbeddedPostgres({ dataDir, settings: fast });
  expect(await query(own.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  await own.stop();
  const again = await userProcess(reachable, { dataDir, settings: fast }, { ...nobody, env: { TMPDIR: folder } });
  expect(again.server.error).toBeUndefined();
  await again.stop();
});
