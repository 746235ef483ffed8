import { lstat, mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { EmbeddedPostgresError } from './embedded-postgres.error.js';

/**
 * This account's folder for what others must be able to reach but not to change. It lies where anyone may write, so it
 * must be known to be ours before we use what it holds.
 */
export async function ownFolder(parent: string): Promise<string> {
  const folder = join(parent, `nestjs-backie-${process.geteuid?.() ?? 'user'}`);
  await mkdir(folder, { mode: 0o755 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const entry = await lstat(folder);
  const closed = entry.uid === process.geteuid?.() && (entry.mode & 0o022) === 0;
  if (entry.isDirectory() && (closed || process.platform === 'win32')) return folder;
  throw new EmbeddedPostgresError(
    `${folder}, where files of the embedded PostgreSQL would go, belongs to somebody else or is open to others' writing. ` +
      'Remove it, or set TMPDIR to a folder of your own.',
  );
}
