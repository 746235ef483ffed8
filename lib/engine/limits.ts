import type { ClaimedTask } from './task.js';

/** At most `max` starts in any `perMs` milliseconds, over all processes, by the database's clock. */
export interface RateLimit {
  /** 1 to 1,000,000. */
  readonly max: number;
  /** The window: whole milliseconds, 1 to 31,622,400,000 (366 days). */
  readonly perMs: number;
}

/** What an application declares of a queue. */
export interface DeclaredLimits {
  readonly globalConcurrency: number | null;
  readonly rateLimit: RateLimit | null;
}

/** Changes of a queue's limits at run time; what is left out stays. `null` takes a change back. */
export interface LimitChanges {
  /** How many of its tasks each process runs at once. */
  readonly concurrency?: number | null | undefined;
  /** How many of its tasks run at once over all processes; `'none'`: as many as like. */
  readonly globalConcurrency?: number | 'none' | null | undefined;
  /** How many of its tasks start in a while over all processes; `'none'`: as many as like. */
  readonly rateLimit?: RateLimit | 'none' | null | undefined;
}

/** A queue's limits as they hold. */
export interface QueueLimits {
  /** Set at run time for each process; null: what each declares. */
  readonly concurrency: number | null;
  readonly globalConcurrency: number | null;
  readonly rateLimit: RateLimit | null;
  /** Which of them were set at run time. */
  readonly changed: readonly (keyof LimitChanges)[];
  /** The tasks at home there that have a rate limit of their own, by name, also those that no process has any more. */
  readonly tasks: readonly RatedTask[];
}

/** A task that has a rate limit of its own. */
export interface RatedTask {
  readonly name: string;
  readonly rateLimit: RateLimit;
}

/** What workers must know of what was set at run time, or by other applications. */
export interface Control {
  /** Queues of which there is something to know. */
  readonly queues: ReadonlyMap<string, QueueControl>;
  readonly pausedTasks: ReadonlySet<string>;
  /** Tasks with a rate limit of their own. */
  readonly ratedTasks: ReadonlySet<string>;
}

export interface QueueControl {
  readonly paused: boolean;
  /** Each process runs so many at once; null: what it declares. */
  readonly concurrency: number | null;
  /** Only `claimLimited` may claim from it. */
  readonly limited: boolean;
}

export const noControl: Control = { queues: new Map(), pausedTasks: new Set(), ratedTasks: new Set() };

/** What a claim from a limited queue brings. */
export interface LimitedClaim {
  readonly tasks: readonly ClaimedTask[];
  /** In how many milliseconds a limit lets more through; null when no limit that knows it was in the way. */
  readonly nextInMs: number | null;
}
