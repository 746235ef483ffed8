import type { LeaseTerms } from './lease.js';
import type { Retention } from './retention.js';
import type { QueueDefinition } from './task-definition.js';

/** What a worker pool is told; every option has its value. */
export interface WorkerPoolOptions extends LeaseTerms {
  readonly queues: readonly QueueDefinition[];
  /** Of queues that are not configured here. */
  readonly retention: Retention;
  readonly shutdownGraceMs: number;
  /** A task that was held by this many workers when they died fails as quarantined. */
  readonly maxCrashes: number;
  readonly version: string;
  readonly newId: () => string;
}
