import { createHash } from 'node:crypto';
import { chmod, lstat, mkdir, mkdtemp, readdir, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { clusterLayout } from './cluster.layout.js';
import { EmbeddedPostgresError } from './embedded-postgres.error.js';
import { findKeeper } from './keeper.connection.js';
import { ownFolder } from './own-folder.factory.js';
import type { PostgresBinaries } from './postgres-binaries.resolver.js';
import { endPostmaster, findPostmaster } from './postmaster.process.js';
import { isAlive } from './process.liveness.js';
import { canReach, resolveServerUser, type ServerUser } from './server-user.resolver.js';

const prefix = 'backie-postgres-';

/**
 * Makes a kept folder where it is absent. An existing one keeps its owner and mode, and its real path is used, so that
 * two names for one folder lead to one server.
 *
 * Root's folders may lie behind one that no other account may enter, a home for instance, and PostgreSQL does not run as
 * root. The data then goes to a folder among the temporary ones, always to the same for one path.
 */
export async function keptFolder(dataDir: string): Promise<string> {
  const folder = await makeFolder(resolve(dataDir));
  const user = await resolveServerUser(clusterLayout(folder).pgdata);
  if (!user || (await canReach(folder, user))) return folder;
  const name = createHash('sha256').update(folder).digest('hex').slice(0, 16);
  return makeFolder(join(await ownFolder(await reachableParent(user)), `data-${name}`));
}

async function makeFolder(path: string): Promise<string> {
  try {
    await mkdir(path, { recursive: true });
    return await realpath(path);
  } catch (cause) {
    throw new EmbeddedPostgresError(`The data folder ${path} cannot be made: ${String(cause)}`, { cause });
  }
}

/** TMPDIR may be private to root. */
async function reachableParent(user: ServerUser | undefined): Promise<string> {
  return user && !(await canReach(tmpdir(), user)) ? '/tmp' : tmpdir();
}

/** A folder for one server's life, where the server's account can reach it. */
export async function temporaryFolder(): Promise<string> {
  const user = await resolveServerUser();
  const folder = await realpath(await mkdtemp(join(await reachableParent(user), `${prefix}${process.pid}-`)));
  if (user) await chmod(folder, 0o711);
  return folder;
}

/**
 * Removes temporary folders whose user and keeper were both killed, or whose user was killed during initdb, and ends
 * what still runs there. Folders of other accounts are left alone.
 */
export async function sweepTemporaryFolders(
  parent: string,
  binaries: PostgresBinaries,
  user?: ServerUser,
): Promise<void> {
  for (const name of await readdir(parent)) {
    const creator = new RegExp(`^${prefix}(\\d+)-`).exec(name)?.[1];
    if (creator === undefined || isAlive(Number(creator))) continue;
    const { dataDir, cluster, pgdata } = clusterLayout(join(parent, name));
    const owner = await lstat(dataDir).catch(() => undefined);
    if (owner?.uid !== process.geteuid?.()) continue;

    const orphan = await findPostmaster(pgdata);
    const keeper = await findKeeper(cluster);
    keeper?.abandon();
    if (keeper) continue;
    if (orphan) await endPostmaster(orphan, pgdata, binaries, user);
    await rm(dataDir, { recursive: true, force: true, maxRetries: 5 }).catch(() => undefined);
  }
}
