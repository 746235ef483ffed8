import type { TaskRef } from './task-event.js';

export interface RescueRequest {
  /** Wait this long after the server's start or crash: a worker may be alive that could not renew while it was down. */
  readonly leaseMs: number;
  /** A task that was held by this many workers when they died fails as quarantined. */
  readonly maxCrashes: number;
  /** For how many milliseconds failed tasks stay, by queue, as `keepMs` of a settlement. */
  readonly keepFailedMs: ReadonlyMap<string, number | null>;
  /** The same, of all other queues. @default Infinity */
  readonly keepOthersMs?: number | null;
  /** Task name → queue under which those that fail stay, for ever. */
  readonly deadLetters?: Readonly<Record<string, string>>;
}

export interface RescuedTask {
  readonly id: string;
  readonly name: string;
  readonly queue: string;
  readonly attempt: number;
  readonly crashes: number;
  /** True: it has failed for good. */
  readonly quarantined: boolean;
}

export interface ExpireRequest {
  /** For how many milliseconds cancelled tasks stay, by queue, as `keepMs` of a settlement. */
  readonly keepCancelledMs: ReadonlyMap<string, number | null>;
  /** The same, of all other queues. @default Infinity */
  readonly keepOthersMs?: number | null;
}

export interface Expiry {
  readonly expired: readonly TaskRef[];
  /** Milliseconds until the next task expires that waits now, or null: none will. */
  readonly nextInMs: number | null;
}

/** What a process asks when it looks whether finished tasks whose time is over are to be removed. */
export interface PruneRequest {
  /** A UUID that no other process has. */
  readonly holder: string;
  /** For how many milliseconds finished tasks stay here that neither go at once nor stay for ever. */
  readonly keepMs: readonly number[];
  /** Whoever has taken the day's work, and was not heard of for so many milliseconds, has died over it. */
  readonly staleMs: number;
  /** Aborts when the process has no time for more. */
  readonly signal: AbortSignal;
}

/** What came of it. */
export interface PruneReport {
  /** What was dropped whole, by name. */
  readonly dropped: readonly string[];
  /** How many rows were deleted one by one. */
  readonly deleted: number;
  /** Something is left to do that could not be done now: look again soon. */
  readonly unfinished: boolean;
  /** Why this process does less than it should, if that is so; for the log. */
  readonly weakened?: string;
}
