import { maxTimerMs } from './delay.js';

/** Rings when a limit is to let more through. The nearest time counts; what comes later is learned by then. */
export class LimitAlarm {
  private timer: NodeJS.Timeout | undefined;
  private ringsAt = Infinity;

  constructor(private readonly ring: () => void) {}

  /** @param inMs Milliseconds, or null: at no time that is known. */
  ringIn(inMs: number | null): void {
    if (inMs === null || inMs > maxTimerMs) return;
    const ringsAt = performance.now() + inMs;
    if (ringsAt >= this.ringsAt) return;
    clearTimeout(this.timer);
    this.ringsAt = ringsAt;
    this.timer = setTimeout(() => {
      this.ringsAt = Infinity;
      this.ring();
    }, Math.ceil(inMs)).unref();
  }

  clear(): void {
    clearTimeout(this.timer);
    this.ringsAt = Infinity;
  }
}
