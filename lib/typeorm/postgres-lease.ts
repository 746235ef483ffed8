import { Worker } from 'node:worker_threads';
import type { ClientConfig } from 'pg';
import type { Lease, LeaseEvents, LeaseTerms } from '../engine/task-store.js';

/** What the renewing thread needs; the same names as there. */
export interface RenewalOptions extends LeaseTerms {
  readonly connection: ClientConfig;
  readonly sql: string;
  readonly workerId: string;
  /** Deletes the worker's row. */
  readonly end: () => Promise<void>;
  /** Renews on the main thread, when no thread can be had; resolves to false when there is nothing to renew. */
  readonly renewHere: () => Promise<boolean>;
}

type ThreadMessage = { readonly kind: 'lost' } | { readonly kind: 'failed'; readonly message: string };

const [lastsUntil, wantedUntil] = [0, 1];

/**
 * A worker's lease as this process sees it. It is renewed by a thread; this side only reads how long it lasts, by the
 * monotonic clock, and gives it up a margin before the database does.
 */
export class PostgresLease implements Lease {
  readonly workerId: string;
  private readonly clocks = new BigInt64Array(new SharedArrayBuffer(16));
  private readonly marginMs: number;
  private thread: Worker | undefined;
  private watch: NodeJS.Timeout | undefined;
  private renewal: NodeJS.Timeout | undefined;
  private over = false;
  private renewing = false;

  /** @param sentAt Monotonic nanoseconds before the worker's row was written. */
  constructor(
    private readonly options: RenewalOptions,
    private readonly events: LeaseEvents,
    sentAt: bigint,
  ) {
    this.workerId = options.workerId;
    this.marginMs = Math.min(500, options.leaseMs * 0.05);
    this.clocks[lastsUntil] = sentAt + nanoseconds(options.leaseMs);
    this.clocks[wantedUntil] = sentAt + nanoseconds(options.leaseMs);
    this.startThread();
    this.watchLater();
  }

  remainingMs(): number {
    if (this.over) return 0;
    return Number(Atomics.load(this.clocks, lastsUntil) - process.hrtime.bigint()) / 1e6 - this.marginMs;
  }

  sustain(withinMs: number): void {
    Atomics.store(this.clocks, wantedUntil, process.hrtime.bigint() + nanoseconds(withinMs));
  }

  lose(): void {
    if (this.over) return;
    this.stop();
    this.events.lost();
  }

  async end(): Promise<void> {
    if (this.over) return;
    this.stop();
    await this.options.end();
  }

  private startThread(): void {
    const { connection, sql, workerId, leaseMs, heartbeatMs } = this.options;
    try {
      const thread = new Worker(new URL('./lease-renewal.thread.js', import.meta.url), {
        workerData: { connection, sql, workerId, leaseMs, heartbeatMs, clocks: this.clocks.buffer },
        execArgv: [],
        name: 'backie-lease',
      });
      thread.on('message', (message: ThreadMessage) => this.receive(message));
      thread.on('error', (error) => this.renewHere(error));
      thread.unref();
      this.thread = thread;
    } catch (error) {
      // Connection options with functions (a password that is fetched, for instance) cannot go to a thread.
      this.renewHere(error);
    }
  }

  private receive(message: ThreadMessage): void {
    if (this.over) return;
    switch (message.kind) {
      case 'lost':
        return this.lose();
      case 'failed':
        this.events.renewalFailed(new Error(message.message));
        // The thread's own connection may be what is broken: one try with those of the store.
        void this.renewOnce();
    }
  }

  /** Without a thread the lease is renewed by this event loop: a handler that blocks it for a lease loses its tasks. */
  private renewHere(reason: unknown): void {
    if (this.over || this.renewal) return;
    this.thread = undefined;
    const because = reason instanceof Error ? reason.message : String(reason);
    this.events.weakened?.(
      `The lease is renewed on the main thread, where a handler can block it: there is no thread for it (${because}).`,
    );
    this.renewal = setInterval(() => void this.renewOnce(), this.options.heartbeatMs).unref();
  }

  private async renewOnce(): Promise<void> {
    if (this.renewing) return;
    this.renewing = true;
    const sentAt = process.hrtime.bigint();
    try {
      const renewed = await this.options.renewHere();
      if (this.over) return;
      if (!renewed) return this.lose();
      const until = sentAt + nanoseconds(this.options.leaseMs);
      if (until > Atomics.load(this.clocks, lastsUntil)) Atomics.store(this.clocks, lastsUntil, until);
    } catch (error) {
      if (!this.over) this.events.renewalFailed(error);
    } finally {
      this.renewing = false;
    }
  }

  private watchLater(): void {
    this.watch = setTimeout(
      () => {
        if (this.remainingMs() <= 0) this.lose();
        else this.watchLater();
      },
      Math.max(10, this.remainingMs()),
    ).unref();
  }

  private stop(): void {
    this.over = true;
    clearTimeout(this.watch);
    clearInterval(this.renewal);
    this.thread?.postMessage('stop');
  }
}

function nanoseconds(ms: number): bigint {
  return BigInt(Math.round(ms * 1e6));
}
