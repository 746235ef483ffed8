import { execFile } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

import { runCommand } from './command.runner.js';
import type { PostgresBinaries } from './postgres-binaries.resolver.js';
import { isAlive } from './process.liveness.js';
import type { ServerUser } from './server-user.resolver.js';

/** What `postmaster.pid` says about the server of a data folder: its process on line 1, its port on line 4. */
export interface Postmaster {
  pid: number;
  port: number | undefined;
}

const patience = [
  { signal: 'INT', ms: 10_000 },
  { signal: 'QUIT', ms: 5_000 },
  { signal: 'KILL', ms: 5_000 },
] as const;

/**
 * The live server of a folder, if any. A process with the recorded id need not be one: after a crash or in a restarted
 * container the id may have gone to anything, which must be neither waited for nor signalled. PostgreSQL itself would
 * refuse to start beside such a process, so the stale file is removed here.
 */
export async function findPostmaster(pgdata: string): Promise<Postmaster | undefined> {
  const postmaster = readPostmaster(pgdata);
  if (!postmaster || !isAlive(postmaster.pid)) return undefined;
  if (await servesFolder(postmaster.pid, pgdata)) return postmaster;
  // In one go, for a starter beside this one may have removed it too and have a new server's file in its place.
  if (readPostmaster(pgdata)?.pid === postmaster.pid) rmSync(join(pgdata, 'postmaster.pid'), { force: true });
  return undefined;
}

/**
 * Ends a server that lost its keeper: fast, then immediately, then by force. The signal is sent by `pg_ctl` under the
 * server's account, so that a forged pid file cannot make root signal somebody else's process.
 */
export async function endPostmaster(
  { pid }: Postmaster,
  pgdata: string,
  binaries: PostgresBinaries,
  user?: ServerUser,
): Promise<void> {
  for (const { signal, ms } of patience) {
    await runCommand(binaries.pgCtl, ['kill', signal, String(pid)], user);
    for (const end = Date.now() + ms; Date.now() < end; await delay(20)) {
      if (!isAlive(pid) || !(await servesFolder(pid, pgdata))) return;
    }
  }
}

function readPostmaster(pgdata: string): Postmaster | undefined {
  try {
    const lines = readFileSync(join(pgdata, 'postmaster.pid'), 'utf8').split('\n');
    const pid = Number(lines[0]);
    return pid > 0 ? { pid, port: Number(lines[3]) || undefined } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A server works in its data folder and was started with that folder's path among its arguments; Linux tells both, other
 * systems the second. A dead process has neither, even while nobody has collected it. A look that fails for another
 * reason, such as too many open files, proves nothing and is an error.
 */
async function servesFolder(pid: number, pgdata: string): Promise<boolean> {
  if (process.platform === 'win32') return true;
  if (process.platform === 'linux') {
    if ((await readlink(`/proc/${pid}/cwd`).catch(() => '')) === pgdata) return true;
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ESRCH') return '';
      throw error;
    });
    return command.includes(pgdata);
  }
  const ps = promisify(execFile)('ps', ['-ww', '-o', 'command=', '-p', String(pid)]);
  return ps.then(
    ({ stdout }) => stdout.includes(pgdata),
    (error: { code?: unknown }) => {
      if (typeof error.code === 'number') return false;
      throw error;
    },
  );
}
