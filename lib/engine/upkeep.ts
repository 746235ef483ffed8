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
