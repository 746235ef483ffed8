import { claimKey, type Holding } from './claim.js';
import type { Lease } from './lease.js';
import type { QueueWorker } from './queue-worker.js';
import type { Settler } from './settler.js';
import type { TaskStore } from './task-store.js';

/** How long after a failure without an answer the server may still carry it out, in milliseconds, generously. */
const afterFailureMs = 120_000;

/**
 * Compares, once in a while, what the database says this worker holds with what it knows it holds.
 *
 * That finds tasks that somebody wants cancelled when the hint was lost, and attempts whose task the store has given to
 * somebody else, within a second even if no hint told of it. And it finds strays: tasks of a claim whose reply was lost.
 * Nobody runs them, and as long as this worker renews its lease nobody rescues them, so they are given
 * back. A stray is one that is unknown here at two looks in a row while every call that could still bring it started
 * after the first look.
 */
export class Audit {
  private strays = new Map<string, number>();
  private suspectUntil = 0;
  private checking = false;
  private again = false;

  constructor(
    private readonly store: TaskStore,
    private readonly settler: Settler,
    private readonly workers: readonly QueueWorker[],
    private readonly lease: () => Lease | undefined,
    private readonly failed: (doing: string, error: unknown) => void,
  ) {}

  /** Something failed without an answer: look for strays even if nothing runs. */
  suspect(): void {
    this.suspectUntil = performance.now() + afterFailureMs;
  }

  /** Somebody wants this task cancelled: looks at once, if it is held here. */
  cancelRequested(id: string): void {
    if (!this.workers.some((worker) => worker.holds(id))) return;
    if (this.checking) this.again = true;
    else void this.check();
  }

  /** Looks once, unless there is nothing to see or a look is under way. Never rejects. */
  async check(): Promise<void> {
    const lease = this.lease();
    const idle = this.workers.every((worker) => worker.running === 0);
    if (!lease || this.checking || (idle && performance.now() > this.suspectUntil)) return;
    this.checking = true;
    try {
      const lookedAt = performance.now();
      this.compare(lease, await this.store.holdings(lease.workerId), lookedAt);
    } catch (error) {
      this.failed('look at what this worker holds', error);
    } finally {
      this.checking = false;
    }
    if (!this.again) return;
    this.again = false;
    await this.check();
  }

  private compare(lease: Lease, holdings: readonly Holding[], lookedAt: number): void {
    const known = new Set<string>();
    for (const worker of this.workers) worker.collectHeld(known);
    const pendingSince = Math.min(...this.workers.map((worker) => worker.pendingSince));
    const claims = new Map(holdings.map(({ id, claimSeq }) => [id, claimSeq]));
    for (const worker of this.workers) worker.loseOthers(lease, claims, lookedAt);
    const strays = new Map<string, number>();
    for (const { id, queue, claimSeq, cancelRequested } of holdings) {
      if (cancelRequested) for (const worker of this.workers) worker.cancel({ id, queue, claimSeq });
      const claim = claimKey({ id, claimSeq });
      if (known.has(claim)) continue;
      const firstSeen = this.strays.get(claim);
      if (firstSeen !== undefined && firstSeen < pendingSince) {
        void this.settler.settle(lease, { kind: 'release', id, queue, claimSeq });
      } else {
        strays.set(claim, firstSeen ?? lookedAt);
      }
    }
    this.strays = strays;
  }
}
