import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { type ClusterLayout, clusterLayout } from './cluster.layout.js';
import { runCommand } from './command.runner.js';
import { EmbeddedPostgresError } from './embedded-postgres.error.js';
import type { PostgresBinaries } from './postgres-binaries.resolver.js';
import { draftName, isAbandonedDraft } from './process.liveness.js';
import { canReach, type ServerUser } from './server-user.resolver.js';

/** What initdb needs to know, beyond where the data goes. */
export interface ClusterPlan {
  binaries: PostgresBinaries;
  user: ServerUser | undefined;
  /** Whether the data is to outlive a crash of the machine. */
  durable: boolean;
}

/**
 * Runs initdb unless the folder has data. It works in a draft folder and renames that: a killed initdb leaves nothing
 * that looks like data, and of two starters the second rename fails, so that both use the first one's cluster.
 */
export async function ensureCluster(layout: ClusterLayout, plan: ClusterPlan): Promise<void> {
  if (plan.user && !(await canReach(layout.dataDir, plan.user))) {
    throw new EmbeddedPostgresError(
      `PostgreSQL does not run as root, and the account "${plan.user.name}" cannot enter the data folder ` +
        `${layout.dataDir}. Choose a dataDir whose parent folders are open to it (chmod o+x), or run as that account.`,
    );
  }
  await removeAbandonedDrafts(layout.dataDir);
  if (await exists(layout.cluster)) return;

  const draft = clusterLayout(layout.dataDir, join(layout.dataDir, draftName('cluster')));
  try {
    await fillDraft(draft, plan);
    await rename(draft.cluster, layout.cluster);
  } catch (error) {
    if (!(await exists(layout.cluster))) throw error;
  } finally {
    await rm(draft.cluster, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function fillDraft(draft: ClusterLayout, { binaries, user, durable }: ClusterPlan): Promise<void> {
  await mkdir(draft.cluster);
  await chmod(draft.cluster, user ? 0o711 : 0o700);
  await mkdir(draft.pgdata, { mode: 0o700 });
  await writeFile(draft.password, randomBytes(24).toString('base64url'), { mode: 0o600 });
  if (user) {
    await chown(draft.pgdata, user.uid, user.gid);
    await chown(draft.password, user.uid, user.gid);
  }
  const provider = binaries.major >= 17 ? ['--locale-provider=builtin', '--builtin-locale=C.UTF-8'] : [];
  const args = ['-D', draft.pgdata, '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${draft.password}`];
  args.push('-E', 'UTF8', '--locale=C', ...provider, ...(durable ? [] : ['--no-sync']));
  const { ok, output } = await runCommand(binaries.initdb, args, user);
  if (!ok) throw new EmbeddedPostgresError(`initdb could not create a database in ${draft.dataDir}:\n${output}`);
}

/** The initdb of a starter that was killed may still be writing for a moment; what it leaves then is the next start's. */
async function removeAbandonedDrafts(dataDir: string): Promise<void> {
  for (const name of await readdir(dataDir)) {
    if (!isAbandonedDraft(name, 'cluster')) continue;
    const patience = { maxRetries: 10, retryDelay: 50 };
    await rm(join(dataDir, name), { recursive: true, force: true, ...patience }).catch(() => undefined);
  }
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
