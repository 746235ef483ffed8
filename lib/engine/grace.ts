import { maxTimerMs } from './delay.js';

/** The time that a drain gives to what runs: the least that anybody asks for, before the drain begins or meanwhile. */
export class Grace {
  /** Resolves when the time is over. */
  readonly over: Promise<void>;
  private end: () => void = () => {};
  private endsAt = Infinity;
  private timer: NodeJS.Timeout | undefined;

  constructor(ms: number) {
    this.over = new Promise((resolve) => {
      this.end = resolve;
    });
    this.shorten(ms);
  }

  shorten(ms: number): void {
    const endsAt = performance.now() + ms;
    if (endsAt >= this.endsAt) return;
    this.endsAt = endsAt;
    this.clear();
    this.timer = setTimeout(this.end, Math.min(ms, maxTimerMs));
  }

  clear(): void {
    clearTimeout(this.timer);
  }
}
