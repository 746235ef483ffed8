import { chmod, constants, copyFile, lstat, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';

import { ownFolder } from './own-folder.factory.js';
import { linkLibraries } from './postgres-libraries.linker.js';
import { draftName, isAbandonedDraft } from './process.liveness.js';

/**
 * A copy of the binary package that every account may run, for a package that lies behind a closed folder (root's home)
 * or on a read-only file system without its library links. It is made once per version and machine user, in a draft
 * folder that is renamed when complete, and made again when a cleaner of old temporary files has taken some of it.
 *
 * @returns the copy's root, laid out like the package's.
 */
export async function copyBinaries(root: string, parent: string = tmpdir()): Promise<string> {
  const cache = await ownFolder(parent);
  const { version }: { version: string } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  const name = `${basename(root)}-${version}`;
  const copy = join(cache, name);
  const files = await wantedFiles(root);
  if (await isComplete(copy, files)) return copy;

  const leftovers = await readdir(cache);
  await Promise.all(
    leftovers.filter((entry) => isAbandonedDraft(entry, name)).map((entry) => remove(join(cache, entry))),
  );
  const draft = join(cache, draftName(name));
  await copyTree(root, draft, files);
  await linkLibraries(draft);
  try {
    await rename(draft, copy).catch(async (error: unknown) => {
      if (await isComplete(copy, files)) return;
      await rename(copy, join(cache, draftName(name))).catch(() => Promise.reject(error));
      await rename(draft, copy);
    });
  } catch (error) {
    if (!(await isComplete(copy, files))) throw error;
  } finally {
    await remove(draft);
  }
  return copy;
}

/** Everything but what only a C compiler reads, and the links, which are made anew. */
async function wantedFiles(root: string): Promise<string[]> {
  const entries = await readdir(join(root, 'native'), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.a'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
}

async function isComplete(copy: string, files: readonly string[]): Promise<boolean> {
  const present = await Promise.allSettled(files.map((file) => lstat(join(copy, file))));
  return present.every(({ status }) => status === 'fulfilled');
}

/** Open to everyone, whatever the caller's umask. */
async function copyTree(root: string, draft: string, files: readonly string[]): Promise<void> {
  const folders = new Set([draft, join(draft, 'native')]);
  for (const file of files) {
    const target = join(draft, file);
    for (let folder = dirname(target); !folders.has(folder); folder = dirname(folder)) folders.add(folder);
  }
  for (const folder of [...folders].toSorted()) {
    await mkdir(folder);
    await chmod(folder, 0o755);
  }
  for (const file of files) {
    await copyFile(join(root, file), join(draft, file), constants.COPYFILE_FICLONE);
    await chmod(join(draft, file), 0o755);
  }
}

async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}
