import type { Trouble } from './troubles.js';

export type PoolState = 'stopped' | 'running' | 'stopping' | 'draining';

/** A look at a queue that a pool works. */
export interface QueueStatus {
  readonly name: string;
  /** How many run at once here: as declared, or as set at run time. */
  readonly concurrency: number;
  readonly running: number;
  readonly prefetched: number;
}

/** A look at a pool. */
export interface WorkerPoolStatus {
  readonly state: PoolState;
  /** This process as a worker, or null while it holds no lease. */
  readonly workerId: string | null;
  /** Milliseconds left of the lease that covers the running tasks, or null. */
  readonly leaseRemainingMs: number | null;
  /** Milliseconds since the lease was renewed, at most half a second more, or null. Beyond heartbeatMs renewals fail. */
  readonly leaseAgeMs: number | null;
  /** By how many milliseconds the event loop was late within the last second. */
  readonly loopLagMs: number;
  /** Whether the store has answered since its latest failure. */
  readonly connection: 'up' | 'down';
  /** Whether hints of other processes arrive; without them new work is found by polling. */
  readonly notified: boolean;
  readonly queues: readonly QueueStatus[];
  /** The latest failure of the store, or null; the pool goes on trying. */
  readonly lastError: Trouble | null;
}
