import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, copyFile, link, mkdir, mkdtemp, readdir, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Client } from 'pg';

import { type EmbeddedPostgresOptions, startEmbeddedPostgres } from '../../../lib/embedded/index.js';
import { findBinaryPackage } from '../../../lib/embedded/postgres-binaries.resolver.js';

export const isRoot = process.geteuid?.() === 0;
export const nobody = { uid: 65_534, gid: 65_534 };
export const fast = { fsync: 'off', full_page_writes: 'off' };

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** A folder of a test's own that every account may enter. */
export async function openFolder(): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'backie-test-')));
  await chmod(folder, 0o777);
  return folder;
}

export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

/** This folder's sources as JavaScript, so that processes of their own can run them. Returns the barrel's path. */
export async function compileInto(folder: string, { ownPackage = false } = {}): Promise<string> {
  const args = ['--ignoreConfig', '--target', 'ES2023', '--module', 'NodeNext', '--allowJs', '--skipLibCheck'];
  args.push('--types', 'node', '--typeRoots', join(root, 'node_modules/@types'), '--rootDir', join(root, 'lib'));
  args.push('--outDir', join(folder, 'lib'), join(root, 'lib/embedded/index.ts'));
  args.push(join(root, 'lib/embedded/keeper.process.js'));
  await promisify(execFile)(join(root, 'node_modules/.bin/tsc'), args);
  await writeFile(join(folder, 'package.json'), '{"type":"module"}');
  // Beside the barrel, where every account can reach it: the checkout may lie behind a closed folder.
  await copyFile(fileURLToPath(new URL('./user-process.mjs', import.meta.url)), userScript(folder));
  if (ownPackage) await copyPackage(folder);
  else await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  return join(folder, 'lib/embedded/index.js');
}

function userScript(folder: string): string {
  return join(folder, 'user-process.mjs');
}

/** The binary package as npm unpacks it while install scripts are blocked: without any link of its own. */
export async function copyPackage(folder: string): Promise<string> {
  const source = findBinaryPackage();
  const copy = join(folder, source.slice(source.indexOf('node_modules')));
  for (const entry of await readdir(source, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    const target = join(copy, relative(source, file));
    await mkdir(dirname(target), { recursive: true });
    await link(file, target).catch(() => copyFile(file, target));
  }
  return copy;
}

/** Data folders on which initdb has run once: copying one is faster than running it again. */
export async function initializedFolders(folder: string): Promise<(name: string) => Promise<string>> {
  const template = join(folder, 'template');
  await (await startEmbeddedPostgres({ dataDir: template, settings: fast })).stop();
  return async (name) => {
    await promisify(execFile)('cp', ['-a', template, join(folder, name)]);
    return join(folder, name);
  };
}

export interface UserProcess {
  child: ChildProcess;
  pid: number;
  server: { url: string; port: number; dataDir: string; attached: boolean; error?: string };
  stop(): Promise<void>;
  kill(): Promise<void>;
}

/** Starts another process that uses the embedded PostgreSQL, and waits for what it says. */
export async function userProcess(
  barrel: string,
  options: EmbeddedPostgresOptions,
  how: { env?: NodeJS.ProcessEnv; uid?: number; gid?: number } = {},
): Promise<UserProcess> {
  const user = launchUserProcess(barrel, options, how);
  const server = JSON.parse((await user.lines.next()).value ?? '{}');
  return {
    child: user.child,
    pid: user.child.pid!,
    server,
    async stop() {
      const exit = once(user.child, 'exit');
      user.child.stdin.end('stop\n');
      await exit;
    },
    async kill() {
      const exit = once(user.child, 'exit');
      user.child.kill('SIGKILL');
      await exit;
    },
  };
}

export function launchUserProcess(
  barrel: string,
  options: EmbeddedPostgresOptions,
  how: { env?: NodeJS.ProcessEnv; uid?: number; gid?: number } = {},
) {
  const script = userScript(join(dirname(barrel), '../..'));
  const child = spawn(process.execPath, [script, barrel, JSON.stringify(options)], {
    cwd: '/',
    stdio: ['pipe', 'pipe', 'inherit'],
    ...how,
    env: { PATH: process.env['PATH'], ...how.env },
  });
  return { child, lines: createInterface(child.stdout)[Symbol.asyncIterator]() };
}

/** A connection that remembers when the server closed it. */
export async function connect(url: string): Promise<{ client: Client; closed: Promise<void> }> {
  const client = new Client(url);
  client.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => client.once('end', () => resolve()));
  await client.connect();
  return { client, closed };
}

export async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const { client } = await connect(url);
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

/** The server's process id, as its data folder says. */
export function serverPid(dataDir: string): number {
  return Number(readFileSync(join(dataDir, 'cluster/pgdata/postmaster.pid'), 'utf8').split('\n')[0]);
}

/** Every live process, a dead but uncollected one left out, whose command line has this text. */
export async function processesWith(text: string): Promise<number[]> {
  const pids: number[] = [];
  for (const name of await readdir('/proc')) {
    const command = `/proc/${name}/cmdline`;
    if (!/^\d+$/.test(name) || Number(name) === process.pid || !existsSync(command)) continue;
    try {
      if (readFileSync(command, 'utf8').includes(text)) pids.push(Number(name));
    } catch {
      // It ended meanwhile.
    }
  }
  return pids;
}

/** The keeper of a server is its parent. */
export function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

export function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
