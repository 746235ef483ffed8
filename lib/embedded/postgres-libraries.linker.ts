import { copyFile, readFile, rename, rm, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/**
 * Adds the library links that npm packages cannot carry and the package's install script makes, where scripts may run.
 * A link is made in one step, so any number of starters may do this at once. Links that cannot be made are not an
 * error here: whether the programs run is tried out afterwards.
 */
export async function linkLibraries(root: string): Promise<void> {
  for (const { source, target } of await listedLinks(root)) {
    const link = join(root, target);
    await symlink(basename(source), link).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST' && error.code !== 'EROFS' && error.code !== 'EACCES')
        await imitate(root, source, link);
    });
  }
}

/** A copy serves as well where the file system knows no links. */
async function imitate(root: string, source: string, link: string): Promise<void> {
  const draft = join(dirname(link), `.${basename(link)}-${process.pid}`);
  await copyFile(join(root, source), draft)
    .then(() => rename(draft, link))
    .catch(() => rm(draft, { force: true }).catch(() => undefined));
}

async function listedLinks(root: string): Promise<{ source: string; target: string }[]> {
  const text = await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  const links: { source: string; target: string }[] = JSON.parse(text);
  return links.filter(({ source, target }) => dirname(source) === dirname(target));
}
