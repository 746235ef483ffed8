import type { Pace } from './pace.js';

/** The attempts under way, by the monotonic milliseconds of their start. */
export interface Starts {
  /** How many have started by then. */
  startedBy(time: number): number;
  /** When the first one after it started; undefined when there is none. */
  firstStartAfter(time: number): number | undefined;
}

/**
 * Foretells how many attempts are about to end. Tasks that were claimed together start together, and if they take their
 * time alike they end together too: an average then claims far too few ahead, and each slot waits for a claim.
 */
export class Forecast {
  /** So many are about to end. */
  ending = 0;
  /** Those that have started by then are counted. */
  private counted = -Infinity;
  private timer: NodeJS.Timeout | undefined;

  /** @param told Called when more are about to end. */
  constructor(
    private readonly pace: Pace,
    private readonly starts: Starts,
    private readonly told: () => void,
  ) {}

  /** Attempts have started. */
  started(): void {
    if (this.timer) return;
    const { ripeMs } = this.pace;
    const next = ripeMs === Infinity ? undefined : this.starts.firstStartAfter(this.counted);
    if (next === undefined) return;
    this.timer = setTimeout(() => this.look(ripeMs), Math.max(0, next + ripeMs - performance.now())).unref();
  }

  /** An attempt has ended. */
  ended(): void {
    if (this.ending > 0) this.ending--;
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.ending = 0;
  }

  private look(ripeMs: number): void {
    this.timer = undefined;
    this.counted = performance.now() - ripeMs;
    this.ending = this.starts.startedBy(this.counted);
    if (this.ending > 0) this.told();
    this.started();
  }
}
