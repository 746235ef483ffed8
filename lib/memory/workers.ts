import type { Lease, LeaseEvents, LeaseTerms, WorkerIdentity } from '../engine/task-store.js';

/** The workers that hold a lease. */
export class Workers {
  private readonly leases = new Map<string, MemoryLease>();

  constructor(private readonly now: () => number) {}

  /** Whether the worker is registered and its lease has not ended. */
  isAlive(id: string): boolean {
    return (this.leases.get(id)?.remainingMs() ?? 0) > 0;
  }

  register(worker: WorkerIdentity, terms: LeaseTerms, events: LeaseEvents): Lease {
    this.leases.get(worker.id)?.cease();
    const lease = new MemoryLease(worker.id, terms, events, this.now, () => {
      if (this.leases.get(worker.id) === lease) this.leases.delete(worker.id);
    });
    this.leases.set(worker.id, lease);
    return lease;
  }

  /** No lease is renewed any more; each ends by the clock. */
  stopRenewing(): void {
    for (const lease of this.leases.values()) lease.stopRenewing();
  }
}

/** Renewed by a timer. It is gone for good once a renewal comes too late: its tasks may be somebody else's by then. */
class MemoryLease implements Lease {
  private readonly timer: NodeJS.Timeout;
  private renewedUntil: number;
  private sustainedUntil = -Infinity;
  private leased = true;

  constructor(
    readonly workerId: string,
    private readonly terms: LeaseTerms,
    private readonly events: LeaseEvents,
    private readonly now: () => number,
    private readonly forget: () => void,
  ) {
    this.renewedUntil = now() + terms.leaseMs;
    this.timer = setInterval(() => this.renew(), terms.heartbeatMs).unref();
  }

  remainingMs(): number {
    return Math.max(0, Math.max(this.renewedUntil, this.sustainedUntil) - this.now());
  }

  /** No timer fires while the event loop is blocked, so the lease is held in advance. The latest call counts. */
  sustain(withinMs: number): void {
    if (this.remainingMs() > 0) this.sustainedUntil = this.now() + withinMs;
  }

  async end(): Promise<void> {
    this.cease();
  }

  lose(): void {
    if (!this.leased) return;
    this.cease();
    this.events.lost();
  }

  cease(): void {
    this.leased = false;
    this.stopRenewing();
    this.renewedUntil = this.sustainedUntil = -Infinity;
    this.forget();
  }

  stopRenewing(): void {
    clearInterval(this.timer);
  }

  private renew(): void {
    if (this.remainingMs() > 0) {
      this.renewedUntil = this.now() + this.terms.leaseMs;
    } else {
      this.lose();
    }
  }
}
