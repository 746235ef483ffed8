/** One process that works, as it registers itself. */
export interface WorkerIdentity {
  /** UUIDv7. A worker whose lease was lost comes back under a new one. */
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  readonly version: string;
  readonly queues: readonly string[];
}

/** How long a lease lasts and how often it is renewed, in milliseconds. */
export interface LeaseTerms {
  readonly leaseMs: number;
  readonly heartbeatMs: number;
}

export interface LeaseEvents {
  /** The lease is gone: the database has given it away, or it could not be renewed in time. Called at most once. */
  lost(): void;
  /** A renewal failed and will be tried again. */
  renewalFailed(error: unknown): void;
  /** The lease is kept, but with less protection than usual, for this reason. */
  weakened?(reason: string): void;
}

/** The lease that covers all tasks of one worker. */
export interface Lease {
  readonly workerId: string;
  /** Gives it up: somebody knows for sure that the database has given it away. Calls `lost` unless it is over. */
  lose(): void;
  /** Milliseconds by the process's monotonic clock that are left of the lease as far as this process knows. */
  remainingMs(): number;
  /**
   * Renew even while the event loop is blocked, but only until `withinMs` from now: a process whose loop never comes
   * back must not hold its tasks for ever.
   */
  sustain(withinMs: number): void;
  /** Ends the lease: the worker holds nothing any more. */
  end(): Promise<void>;
}
