import type { Pool, PoolClient } from 'pg';

const mostWarm = 2;
const warmForMs = 1_000;

/**
 * The connections of the engine's pool, one statement's or one transaction's at a time.
 *
 * Some are kept out of the pool between statements that follow each other closely: to give one back and fetch it again
 * costs as much as a statement. After a moment they are the pool's again, and its rules for idle ones hold.
 */
export class Sessions {
  private readonly warm: { readonly client: PoolClient; readonly since: number }[] = [];
  private readonly watched = new WeakSet<PoolClient>();
  /** Those that have reported an error, or are of no use any more. */
  private readonly broken = new WeakSet<PoolClient>();
  private closing = false;
  private cooling: NodeJS.Timeout | undefined;

  /**
   * A connection that breaks fails its statement, or is replaced at its next use; without a listener it would end the
   * process. The pool listens to idle ones only, and one may break in the very moment in which it is made.
   */
  constructor(private readonly pool: Pool) {
    pool.on('error', () => {});
    pool.on('connect', (client) => this.watch(client));
  }

  async take(): Promise<PoolClient> {
    const client = this.warm.pop()?.client ?? (await this.pool.connect());
    // The first one was made before the pool had its listeners.
    this.watch(client);
    return client;
  }

  /** @param broken Whether nobody shall use it again. */
  giveBack(client: PoolClient, broken: boolean): void {
    const gone = broken || this.broken.has(client);
    const wanted = this.closing || this.pool.waitingCount > 0;
    if (gone || wanted || this.warm.length >= mostWarm) return client.release(gone);
    this.warm.push({ client, since: performance.now() });
    this.cooling ??= setTimeout(() => this.cool(), warmForMs).unref();
  }

  /** Says of one that is in use that nobody shall use it again. */
  condemn(client: PoolClient): void {
    this.broken.add(client);
  }

  /** Gives back to the pool what nobody uses, and at once what is in use now. */
  close(): void {
    this.closing = true;
    clearTimeout(this.cooling);
    this.cooling = undefined;
    for (const { client } of this.warm.splice(0)) client.release();
  }

  private watch(client: PoolClient): void {
    if (this.watched.has(client)) return;
    this.watched.add(client);
    client.on('error', () => this.drop(client));
  }

  /** Gives those back to the pool that nobody has used for a moment: the first ones, since the last one is used first. */
  private cool(): void {
    const before = performance.now() - warmForMs;
    while (this.warm[0] && this.warm[0].since <= before) this.warm.shift()?.client.release();
    this.cooling = this.warm.length > 0 ? setTimeout(() => this.cool(), warmForMs).unref() : undefined;
  }

  /** A connection that breaks while nobody uses it is replaced by the next one. */
  private drop(client: PoolClient): void {
    this.broken.add(client);
    const place = this.warm.findIndex((one) => one.client === client);
    if (place < 0) return;
    this.warm.splice(place, 1);
    client.release(true);
  }
}
