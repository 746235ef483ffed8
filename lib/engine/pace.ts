/** More tasks than these are never claimed ahead: beyond it a larger statement gains nothing. */
const mostAhead = 1_000;
/** How much one new observation counts: about the last twenty decide. */
const weight = 0.1;
/** What a slot loses to a claim after a longer task is not worth a task that waits elsewhere. */
const longestForeseenMs = 200;

/** From which age to which a running task is about to end, in milliseconds. */
export interface RipeAge {
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * Measures how fast a queue's slots turn over, to claim ahead just what they will start while the next claim is under
 * way. Short tasks then never wait for a round trip, and long ones are never held back from other processes.
 */
export class Pace {
  private claimMs: number | undefined;
  private runMs: number | undefined;
  /** By how much a run differs from `runMs`. */
  private deviationMs = 0;

  /** A claim took this long. */
  claimed(ms: number): void {
    this.claimMs = average(this.claimMs, ms);
  }

  /** A handler ran this long. */
  ran(ms: number): void {
    if (this.runMs !== undefined) this.deviationMs = average(this.deviationMs, Math.abs(ms - this.runMs));
    this.runMs = average(this.runMs, ms);
  }

  /** What was thought to be short has turned out long: nothing is claimed ahead until that changes. */
  stalled(ms: number): void {
    this.runMs = Math.max(this.runMs ?? 0, ms);
  }

  /**
   * How many tasks this many slots start during one claim: slots × claim time ÷ run time (Little's law). 0 while
   * nothing is known yet.
   */
  ahead(slots: number): number {
    if (this.claimMs === undefined || this.runMs === undefined) return 0;
    return Math.min(mostAhead, Math.floor((slots * this.claimMs) / Math.max(this.runMs, 0.001)));
  }

  /**
   * The age, in milliseconds, at which a running task is about to end: within the next claim or little more, give or take
   * what runs differ by. Its successor had better be claimed by now. Undefined when that cannot be foretold to within a
   * claim, or is not worth it: short tasks have their successors by `ahead`.
   */
  get ripeAge(): RipeAge | undefined {
    const { claimMs, runMs, deviationMs } = this;
    if (claimMs === undefined || runMs === undefined || runMs <= claimMs) return undefined;
    if (runMs >= longestForeseenMs || deviationMs > claimMs) return undefined;
    const marginMs = deviationMs + 1.5 * claimMs;
    return { fromMs: Math.max(0, runMs - marginMs), toMs: runMs + marginMs };
  }
}

function average(before: number | undefined, ms: number): number {
  return before === undefined ? ms : before + weight * (ms - before);
}
