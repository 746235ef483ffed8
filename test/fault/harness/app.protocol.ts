/** What the harness and an application under test say to each other. */

/** How a child process is set up; it comes as JSON in the environment. */
export interface AppSettings {
  /** Its name in the ledger. */
  readonly name: string;
  readonly databaseUrl: string;
  readonly ledgerUrl: string;
  readonly workers: boolean;
  readonly concurrency: number;
  readonly leaseMs: number;
  readonly shutdownGraceMs: number;
  readonly pollIntervalMs: number;
  readonly maxCrashes: number;
  readonly connectTimeoutMs: number;
  /** Milliseconds that the bootstrap takes in the application's own code, before the engine starts. */
  readonly bootMs: number;
  /** How many Nest applications the process boots. */
  readonly apps: number;
}

/** What a task does. */
export interface Work {
  readonly do:
    | 'wait'
    /** Blocks the event loop. */
    | 'block'
    /** Waits, whatever its signal says. */
    | 'ignoreSignal'
    /** Ends its process in its first attempt. */
    | 'exit'
    /** Kills its process in its first attempt. */
    | 'kill'
    /** Kills its process in every attempt. */
    | 'alwaysKill';
  readonly ms: number;
}

export interface Load {
  /** @default 'work' */
  readonly task?: 'work' | 'transfer';
  readonly tasks: number;
  /** The works, in turn; each task takes the next one. */
  readonly works: readonly Work[];
  /** How long the enqueueing is spread over. */
  readonly overMs: number;
  /** How many tasks share a call; 1: `enqueue`, more: `enqueueMany`. @default 1 */
  readonly atOnce?: number;
}

export type EventCounts = Record<'started' | 'done' | 'retrying' | 'failed' | 'cancelled' | 'rescued' | 'lost', number>;

export type FromApp =
  | { readonly kind: 'ready' }
  | { readonly kind: 'enqueued'; readonly ids: readonly string[] }
  | { readonly kind: 'loaded'; readonly unanswered: number }
  | { readonly kind: 'report'; readonly counts: EventCounts; readonly rssBytes: number }
  | { readonly kind: 'trouble'; readonly message: string };

export type ToApp = { readonly kind: 'load'; readonly load: Load } | { readonly kind: 'enqueueWhileDraining' };
