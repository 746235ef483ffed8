import { readFile, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** The operating-system account a server runs as, when it is not the caller's own. */
export interface ServerUser {
  name: string;
  uid: number;
  gid: number;
}

/**
 * PostgreSQL refuses to run as root. Root's servers run as the owner of existing data, else as `postgres`, else as
 * `nobody`; it has to be an account with a name, since initdb looks its own name up.
 *
 * @returns undefined when the caller is an ordinary user (or on Windows) and the server simply runs as the caller.
 */
export async function resolveServerUser(pgdata?: string): Promise<ServerUser | undefined> {
  if (process.geteuid?.() !== 0) return undefined;
  const owner = pgdata === undefined ? undefined : await stat(pgdata).catch(() => undefined);
  if (owner && owner.uid !== 0) return { name: `uid ${owner.uid}`, uid: owner.uid, gid: owner.gid };
  const accounts = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n').map((line) => line.split(':'));
  const account = accounts.find(([name]) => name === 'postgres') ?? accounts.find(([name]) => name === 'nobody');
  return {
    name: account?.[0] ?? 'nobody',
    uid: toId(account?.[2]),
    gid: toId(account?.[3]),
  };
}

/** Whether every folder down to this one lets the account pass. macOS writes nobody's id as -2. */
export async function canReach(folder: string, user: ServerUser): Promise<boolean> {
  for (let path = await realpath(folder); ; path = dirname(path)) {
    const { mode, uid, gid } = await stat(path);
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return false;
    if (path === dirname(path)) return true;
  }
}

function toId(text = '65534'): number {
  return Number(text) >>> 0;
}
