import type { Pace, RipeAge } from './pace.js';

/** The attempts under way, by the monotonic milliseconds of their start. */
export interface Starts {
  /** How many have started after `after`, and by `by`. */
  startedBetween(after: number, by: number): number;
  /** When the first one after it started; undefined when there is none. */
  firstStartAfter(time: number): number | undefined;
}

/**
 * Foretells how many attempts are about to end. Tasks that were claimed together start together, and if they take their
 * time alike they end together too: an average then claims far too few ahead, and each slot waits for a claim.
 *
 * An attempt counts while its age is ripe. One that is overdue is not like the others, and counts no more: nothing must
 * wait behind it while other processes are idle.
 */
export class Forecast {
  /** So many are about to end. */
  ending = 0;
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
    const { ripeAge } = this.pace;
    if (ripeAge) this.lookNext(ripeAge, performance.now());
  }

  /** An attempt has ended. */
  ended(): void {
    if (this.ending > 0) this.ending--;
  }

  /** What was foretold has not come true, or matters no more. */
  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.ending = 0;
  }

  private look(): void {
    this.stop();
    const { ripeAge } = this.pace;
    if (!ripeAge) return;
    const now = performance.now();
    this.ending = this.starts.startedBetween(now - ripeAge.toMs, now - ripeAge.fromMs);
    this.lookNext(ripeAge, now);
    if (this.ending > 0) this.told();
  }

  /** When the next attempt is ripe, or the first of those that are is overdue. */
  private lookNext({ fromMs, toMs }: RipeAge, now: number): void {
    const ripe = this.starts.firstStartAfter(now - fromMs) ?? Infinity;
    const overdue = this.ending > 0 ? (this.starts.firstStartAfter(now - toMs) ?? Infinity) : Infinity;
    const at = Math.min(ripe + fromMs, overdue + toMs);
    if (at !== Infinity) this.timer = setTimeout(() => this.look(), Math.max(0, at - now)).unref();
  }
}
