import type { Harness } from './harness.js';

/** One thing that goes wrong, and what must hold all the same. */
export interface Fault {
  /** For the table and for `--only`. */
  readonly name: string;
  /** What it shows, in one line. */
  readonly shows: string;
  /** Why it cannot be tried on this machine, if it cannot. */
  skip?(): string | undefined;
  /**
   * Starts applications, loads them, lets it go wrong. When it returns, the trouble is over: from then on recovery is
   * measured, and then the invariants are checked.
   */
  run(harness: Harness): Promise<void>;
}
