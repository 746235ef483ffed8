import type { Execution } from './execution.js';
import type { LaneKeeper } from './lane-keeper.js';
import type { Lease } from './lease.js';
import type { Settler } from './settler.js';
import type { Suspects } from './suspects.js';
import type { EngineReporter } from './task-event.js';
import type { TaskStore } from './task-store.js';

/** What a queue's worker needs of the pool around it. */
export interface QueueWorkerContext {
  readonly store: TaskStore;
  readonly settler: Settler;
  readonly suspects: Suspects;
  readonly lanes: LaneKeeper;
  readonly reporter: EngineReporter;
  /** The lease to claim under; waits while a lost one is being replaced. */
  lease(): Lease | Promise<Lease>;
  /** Whether hints of other processes arrive, so that an idle worker may poll less often. */
  hinted(): boolean;
  /** Told before an attempt starts, so that the lease is sustained at least as long as it may run. */
  starting(execution: Execution): void;
  /** Told when the store answers. */
  answered(): void;
  /** Told of failures of the store; they are retried, so that they only need reporting. */
  failed(doing: string, error: unknown): void;
}
