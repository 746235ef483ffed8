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
/** To start a thread again takes the processor some fifty milliseconds, so it stays over short pauses. */
const idleThreadMs = 10_000;
/** After this a renewal that is not answered counts as failed. */
const longestTryMs = 5_000;

/**
 * A worker's lease as this process sees it: it reads how long that lasts by the monotonic clock, and gives it up a margin
 * before the database does.
 *
 * While tasks run a thread renews it, so that a handler that blocks the event loop does not lose it. A thread takes as
 * much memory as all the rest of the engine; an idle worker has nothing to lose, so it renews by itself.
 */
export class PostgresLease implements Lease {
  readonly workerId: string;
  private readonly clocks = new BigInt64Array(new SharedArrayBuffer(16));
  private readonly marginMs: number;
  private thread: Worker | undefined;
  /** No thread can be had. */
  private alone = false;
  private neededAt = -Infinity;
  private idleWatch: NodeJS.Timeout | undefined;
  private watch: NodeJS.Timeout | undefined;
  private readonly renewal: NodeJS.Timeout;
  /** Monotonic milliseconds at which the latest renewal here was sent that has not been answered. */
  private renewingSince = -Infinity;
  private retry: NodeJS.Timeout | undefined;
  private over = false;

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
    this.renewal = setInterval(() => {
      if (!this.thread) void this.renewHere();
    }, options.heartbeatMs).unref();
    this.watchLater();
  }

  remainingMs(): number {
    if (this.over) return 0;
    return Number(Atomics.load(this.clocks, lastsUntil) - process.hrtime.bigint()) / 1e6 - this.marginMs;
  }

  sustain(withinMs: number): void {
    Atomics.store(this.clocks, wantedUntil, process.hrtime.bigint() + nanoseconds(withinMs));
    // Longer than the lease lasts by itself: something runs that may block the event loop.
    if (withinMs <= this.options.leaseMs) return;
    this.neededAt = performance.now();
    if (!this.thread && !this.alone && !this.over) this.startThread();
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
    // The latest renewal was up to a heartbeat ago, so that long ago is when the thread would have begun to wait.
    const firstInMs = Math.max(0, this.remainingMs() + this.marginMs - leaseMs + heartbeatMs);
    try {
      const thread = new Worker(new URL('./lease-renewal.thread.js', import.meta.url), {
        workerData: { connection, sql, workerId, leaseMs, heartbeatMs, firstInMs, clocks: this.clocks.buffer },
        execArgv: [],
        name: 'backie-lease',
      });
      thread.on('message', (message: ThreadMessage) => this.receive(message));
      thread.on('error', (error) => {
        if (this.thread === thread) this.goOnAlone(error);
      });
      thread.on('exit', () => {
        if (this.thread === thread) this.goOnAlone('it has ended');
      });
      thread.unref();
      this.thread = thread;
      this.idleWatch = setInterval(() => this.endIdleThread(), idleThreadMs / 4).unref();
    } catch (error) {
      // Connection options with functions (a password that is fetched, for instance) cannot go to a thread.
      this.goOnAlone(error);
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
        void this.renewHere();
    }
  }

  private goOnAlone(reason: unknown): void {
    clearInterval(this.idleWatch);
    this.thread = undefined;
    if (this.over || this.alone) return;
    this.alone = true;
    const because = reason instanceof Error ? reason.message : String(reason);
    this.events.weakened?.(
      `The lease is renewed on the main thread, where a handler can block it: there is no thread for it (${because}).`,
    );
    void this.renewHere();
  }

  /** A thread that nothing has needed for a while ends: most of its memory comes back some seconds later. */
  private endIdleThread(): void {
    // A loop that was blocked may come here before it says again that something runs: what it said last counts.
    const sustained =
      Atomics.load(this.clocks, wantedUntil) > process.hrtime.bigint() + nanoseconds(this.options.leaseMs);
    if (sustained || performance.now() - this.neededAt < idleThreadMs) return;
    this.stopThread();
    void this.renewHere();
  }

  /** One try at a time; one that is not answered makes room for the next, on another connection. */
  private async renewHere(): Promise<void> {
    const startedAt = performance.now();
    if (startedAt - this.renewingSince < Math.min(this.options.heartbeatMs, longestTryMs)) return;
    this.renewingSince = startedAt;
    clearTimeout(this.retry);
    const sentAt = process.hrtime.bigint();
    try {
      const renewed = await this.options.renewHere();
      if (this.over) return;
      if (!renewed) return this.lose();
      const until = sentAt + nanoseconds(this.options.leaseMs);
      if (until > Atomics.load(this.clocks, lastsUntil)) Atomics.store(this.clocks, lastsUntil, until);
    } catch (error) {
      if (!this.over) this.failedHere(error);
    } finally {
      if (this.renewingSince === startedAt) this.renewingSince = -Infinity;
    }
  }

  private failedHere(error: unknown): void {
    this.events.renewalFailed(error);
    // The thread tries again by itself.
    if (this.thread) return;
    clearTimeout(this.retry);
    this.retry = setTimeout(() => void this.renewHere(), Math.min(1_000, this.options.heartbeatMs / 4)).unref();
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
    clearTimeout(this.retry);
    clearInterval(this.renewal);
    this.stopThread();
  }

  private stopThread(): void {
    clearInterval(this.idleWatch);
    this.thread?.postMessage('stop');
    this.thread = undefined;
  }
}

function nanoseconds(ms: number): bigint {
  return BigInt(Math.round(ms * 1e6));
}
