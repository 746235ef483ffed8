import { maxTimerMs } from './delay.js';

/** Later alarms than these are left to polling, so that a flood of retries cannot become a flood of timers. */
const maxAlarms = 1_000;

/**
 * Lets a loop sleep until somebody wakes it. A wake-up that comes while nobody sleeps is kept for the next sleep:
 * otherwise work that arrives during a claim would wait for the next poll.
 */
export class WakeSignal {
  private pending = false;
  private wakeSleeper: (() => void) | undefined;
  private readonly alarms = new Set<NodeJS.Timeout>();

  wake(): void {
    if (this.wakeSleeper) this.wakeSleeper();
    else this.pending = true;
  }

  /** Wakes the sleeper in `ms` milliseconds, or lets polling do so when too many alarms are set. */
  wakeIn(ms: number): void {
    if (ms <= 0) return this.wake();
    // PostgreSQL's clock decides what is due; a few milliseconds later it surely is.
    const laterMs = ms + 2;
    if (this.alarms.size >= maxAlarms || laterMs > maxTimerMs) return;
    const alarm = setTimeout(() => {
      this.alarms.delete(alarm);
      this.wake();
    }, laterMs).unref();
    this.alarms.add(alarm);
  }

  /** Sleeps until the next wake-up, at most `ms` milliseconds. */
  async sleep(ms: number): Promise<void> {
    if (!this.pending) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.wakeSleeper = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.wakeSleeper = undefined;
    }
    this.pending = false;
  }

  clear(): void {
    for (const alarm of this.alarms) clearTimeout(alarm);
    this.alarms.clear();
  }
}
