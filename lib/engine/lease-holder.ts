import { delay } from './delay.js';
import type { Lease, LeaseTerms, WorkerIdentity } from './lease.js';
import type { TaskStore } from './task-store.js';

const longestPauseMs = 5_000;

/**
 * Keeps one process registered as a worker. When the lease is lost, everything that ran under it is given up and the
 * process comes back as a new worker: the old one's number must never settle again.
 */
export class LeaseHolder {
  private current: Promise<Lease> | undefined;
  private active: Lease | undefined;

  constructor(
    private readonly store: TaskStore,
    private readonly terms: LeaseTerms,
    private readonly identify: () => WorkerIdentity,
    private readonly events: {
      lost(lease: Lease): void;
      failed(doing: string, error: unknown): void;
      weakened(reason: string): void;
    },
  ) {}

  /** The lease as far as this process knows, for a look at it. */
  get lease(): Lease | undefined {
    return this.active;
  }

  /** Registers; rejects when that fails. */
  async begin(): Promise<void> {
    this.current = this.register();
    await this.current;
  }

  /** The lease to work under; waits while a lost one is being replaced. */
  held(): Lease | Promise<Lease> {
    if (this.active) return this.active;
    if (!this.current) throw new Error('The worker pool holds no lease.');
    return this.current;
  }

  async end(): Promise<void> {
    const current = this.current;
    this.current = undefined;
    const lease = this.active ?? (await current?.catch(() => undefined));
    this.active = undefined;
    await lease?.end();
  }

  private async register(): Promise<Lease> {
    let lost = false;
    let lease: Lease | undefined = undefined;
    lease = await this.store.lease(this.identify(), this.terms, {
      lost: () => {
        lost = true;
        if (lease) this.replace(lease);
      },
      renewalFailed: (error) => this.events.failed('renew the lease', error),
      weakened: (reason) => this.events.weakened(reason),
    });
    if (lost) throw new Error(`The lease of worker ${lease.workerId} was lost before it was held.`);
    this.active = lease;
    return lease;
  }

  private replace(lost: Lease): void {
    this.events.lost(lost);
    if (!this.current) return;
    this.active = undefined;
    const next = this.registerUntilItWorks();
    this.current = next;
  }

  private async registerUntilItWorks(): Promise<Lease> {
    for (let pauseMs = 100; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      try {
        return await this.register();
      } catch (error) {
        this.events.failed('register as a worker again', error);
        if (!this.current) throw error;
        await delay(pauseMs * (0.75 + Math.random() * 0.5));
      }
    }
  }
}
