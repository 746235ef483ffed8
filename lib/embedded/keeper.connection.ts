import { readdir, readFile, rm } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

import { isAlive } from './process.liveness.js';

/** What a keeper said once it knew how its server does; undefined when it went away without a word. */
export type KeeperNews = { port: number; keeper: number } | { failed: string } | undefined;

/** Errors that prove an absence. Any other, such as too many open files, says nothing about a keeper's life. */
const absence = new Set<string | undefined>(['ENOENT', 'ENOTDIR', 'ECONNREFUSED']);

/** One user's connection to a keeper. Holding it is what keeps the server up. */
export class KeeperConnection {
  private readonly closed: Promise<void>;
  private readonly news: Promise<KeeperNews>;
  private dismissed = false;

  private constructor(private readonly socket: Socket) {
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    this.news = new Promise((resolve) => {
      void this.closed.then(() => resolve(undefined));
      const lines = createInterface(socket);
      lines.on('error', () => undefined);
      lines.once('line', (line) => {
        const news: KeeperNews = JSON.parse(line);
        resolve(news);
        lines.once('line', () => (this.dismissed = true));
      });
    });
    socket.on('error', () => undefined);
  }

  /** @returns undefined when nobody listens at this address (any more). */
  static open(address: string): Promise<KeeperConnection | undefined> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(address);
      socket.once('connect', () => resolve(new KeeperConnection(socket)));
      socket.once('error', (error: NodeJS.ErrnoException) => {
        if (absence.has(error.code)) resolve(undefined);
        else reject(error);
      });
    });
  }

  /** Waits until the server is up or has failed, at most `ms`: then the connection is given up. */
  async greeted(ms: number): Promise<KeeperNews | 'late'> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => (timer = setTimeout(() => resolve('late'), ms)));
    const news = await Promise.race([this.news, late]);
    clearTimeout(timer);
    if (news === 'late') this.abandon();
    return news;
  }

  /** Goes away without a word. */
  abandon(): void {
    this.socket.destroy();
  }

  /** From here on the connection alone does not keep this process from exiting. */
  unref(): void {
    this.socket.unref();
  }

  /**
   * Resolves once the keeper has let this user go, or has ended together with its server. A process's connections close
   * a moment before it is gone, hence the short wait; it is bounded, for a container may leave the dead uncollected.
   */
  async leave(): Promise<void> {
    this.socket.ref();
    if (!this.socket.destroyed) this.socket.write('leave\n');
    await this.closed;
    const news = await this.news;
    if (this.dismissed || !news || 'failed' in news) return;
    for (const end = Date.now() + 500; isAlive(news.keeper) && Date.now() < end;) await delay(5);
  }
}

/** A keeper's claim is a file in the cluster's folder that holds its address; its name is never used twice. */
export const claimPrefix = 'keeper-';

/** The live keeper of a cluster, if any. Claims that nobody stands behind any more are removed. */
export async function findKeeper(cluster: string): Promise<KeeperConnection | undefined> {
  const names = (await unlessAbsent(readdir(cluster))) ?? [];
  for (const name of names.filter((each) => /^keeper-[0-9a-f-]+$/.test(each))) {
    const claim = join(cluster, name);
    const address = await unlessAbsent(readFile(claim, 'utf8'));
    const connection = address && (await KeeperConnection.open(address));
    if (connection) return connection;
    for (const suffix of ['', '.log', '.sock']) await rm(claim + suffix, { force: true });
  }
  return undefined;
}

function unlessAbsent<T>(found: Promise<T>): Promise<T | undefined> {
  return found.catch((error: NodeJS.ErrnoException) => {
    if (absence.has(error.code)) return undefined;
    throw error;
  });
}
