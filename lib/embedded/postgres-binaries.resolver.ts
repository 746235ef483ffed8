import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

import { runCommand } from './command.runner.js';
import { EmbeddedPostgresError } from './embedded-postgres.error.js';
import { copyBinaries } from './postgres-binaries.copier.js';
import { linkLibraries } from './postgres-libraries.linker.js';
import type { ServerUser } from './server-user.resolver.js';

/** The programs of one PostgreSQL installation, found to run under the server's account. */
export interface PostgresBinaries {
  postgres: string;
  initdb: string;
  pgCtl: string;
  major: number;
}

/** The machine and the way packages are found on it; only tests name another. */
export interface Host {
  platform: string;
  arch: string;
  resolve: (packageName: string) => string;
}

const thisHost: Host = {
  platform: process.platform,
  arch: process.arch,
  resolve: (name) => createRequire(import.meta.url).resolve(name),
};

const packages = new Set([
  'darwin-arm64',
  'darwin-x64',
  'linux-arm',
  'linux-arm64',
  'linux-ia32',
  'linux-ppc64',
  'linux-x64',
  'windows-x64',
]);

const alternative =
  "or use a PostgreSQL of your own: set `connection` in BackieModule's options or DATABASE_URL, " +
  'or name its programs with `binDir`.';

/**
 * The folder of the binary package for this machine.
 *
 * @throws EmbeddedPostgresError when there is no such package, or it is not installed.
 */
export function findBinaryPackage(host: Host = thisHost): string {
  const target = `${host.platform === 'win32' ? 'windows' : host.platform}-${host.arch}`;
  if (!packages.has(target)) {
    throw new EmbeddedPostgresError(
      `There is no embedded PostgreSQL for ${target}. Use one of ${[...packages].join(', ')}, ${alternative}`,
    );
  }
  const name = `@embedded-postgres/${target}`;
  try {
    return dirname(dirname(host.resolve(name)));
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `The embedded PostgreSQL needs the package ${name}, which is not installed: optional dependencies were left out. ` +
        `Install it with \`npm install --save-dev ${name}\`, ${alternative}`,
      { cause },
    );
  }
}

/**
 * Programs that run under the server's account. Whether they do is found out by running them, since a closed parent
 * folder, a missing library link, a lost executable bit and a `noexec` mount all look alike from outside. The package
 * is used where it lies, its library links added if its install script could not; when that is not enough, a copy is.
 */
export async function resolveBinaries(binDir?: string, user?: ServerUser): Promise<PostgresBinaries> {
  if (binDir !== undefined) return requireRunning(binDir, user, '');

  const root = findBinaryPackage();
  await linkLibraries(root);
  const inPlace = await tryBinaries(join(root, 'native', 'bin'), user);
  if (typeof inPlace !== 'string') return inPlace;
  return requireRunning(join(await copyBinaries(root), 'native', 'bin'), user, `${inPlace}\n`);
}

async function requireRunning(bin: string, user: ServerUser | undefined, before: string): Promise<PostgresBinaries> {
  const result = await tryBinaries(bin, user);
  if (typeof result !== 'string') return result;
  throw new EmbeddedPostgresError(
    `The PostgreSQL programs in ${bin} do not run${user ? ` as "${user.name}" (PostgreSQL refuses root)` : ''}. ` +
      `Their folder must be open to that account and allow execution, and the npm ones need glibc on Linux; ` +
      `${alternative}\n${before}${result}`,
  );
}

async function tryBinaries(bin: string, user?: ServerUser): Promise<PostgresBinaries | string> {
  const program = (name: string) => join(bin, process.platform === 'win32' ? `${name}.exe` : name);
  const binaries = { postgres: program('postgres'), initdb: program('initdb'), pgCtl: program('pg_ctl') };
  const results = await Promise.all(
    [binaries.postgres, binaries.initdb, binaries.pgCtl].map((file) => runCommand(file, ['--version'], user)),
  );
  const failed = results.find(({ ok }) => !ok);
  const major = Number(/\) (\d+)/.exec(results[0]?.output ?? '')?.[1]);
  return failed ? failed.output : { ...binaries, major };
}
