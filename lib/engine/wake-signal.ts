import { maxTimerMs } from './delay.js';

/** So many of the nearest alarms are set; the rest is left to polling, so that no flood of retries floods the timers. */
const maxAlarms = 1_000;

/**
 * Lets a loop sleep until somebody wakes it. A wake-up that comes while nobody sleeps is kept for the next sleep:
 * otherwise work that arrives during a claim would wait for the next poll.
 */
export class WakeSignal {
  private kept = false;
  private wakeSleeper: (() => void) | undefined;
  /** Timer → monotonic milliseconds at which it rings. */
  private readonly alarms = new Map<NodeJS.Timeout, number>();

  /** @param rung Told of each alarm that wakes the sleeper, and for how many tasks. */
  constructor(private readonly rung: (count: number) => void = () => {}) {}

  wake(): void {
    if (this.wakeSleeper) this.wakeSleeper();
    else this.kept = true;
  }

  /** Wakes the sleeper in `ms` milliseconds, or lets polling do so when too many alarms are set. */
  wakeIn(ms: number, count = Infinity): void {
    if (ms <= 0) return this.wake();
    // PostgreSQL's clock decides what is due; a few milliseconds later it surely is.
    const laterMs = ms + 2;
    const ringsAt = performance.now() + laterMs;
    if (laterMs > maxTimerMs || !this.makeRoom(ringsAt)) return;
    const alarm = setTimeout(() => {
      this.alarms.delete(alarm);
      this.rung(count);
      this.wake();
    }, laterMs).unref();
    this.alarms.set(alarm, ringsAt);
  }

  /** Sleeps until the next wake-up, at most `ms` milliseconds. @returns Whether it was woken. */
  async sleep(ms: number): Promise<boolean> {
    let woken = this.kept;
    if (!woken) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.wakeSleeper = () => {
          woken = true;
          clearTimeout(timer);
          resolve();
        };
      });
      this.wakeSleeper = undefined;
    }
    this.kept = false;
    return woken;
  }

  clear(): void {
    for (const alarm of this.alarms.keys()) clearTimeout(alarm);
    this.alarms.clear();
  }

  /** A nearer alarm takes the place of the farthest. */
  private makeRoom(ringsAt: number): boolean {
    if (this.alarms.size < maxAlarms) return true;
    const [farthest] = [...this.alarms].toSorted(([, one], [, other]) => other - one);
    if (!farthest || farthest[1] <= ringsAt) return false;
    clearTimeout(farthest[0]);
    return this.alarms.delete(farthest[0]);
  }
}
