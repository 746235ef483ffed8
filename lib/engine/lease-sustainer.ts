import type { Lease } from './lease.js';

/** Has the lease outlive the longest attempt even if the event loop is blocked, but not a loop that never returns. */
export class LeaseSustainer {
  /** Monotonic milliseconds. */
  private until = 0;

  constructor(
    private readonly lease: () => Lease | undefined,
    private readonly leaseMs: number,
  ) {}

  /** An attempt starts that may take until then, in monotonic milliseconds. */
  starting(deadline: number): void {
    if (deadline > this.until) this.running(deadline);
  }

  /** What runs may take until then, and no longer. */
  running(deadline: number): void {
    this.until = deadline;
    this.lease()?.sustain(deadline - performance.now() + this.leaseMs);
  }

  /** The next lease has not been sustained yet. */
  lost(): void {
    this.until = 0;
  }
}
