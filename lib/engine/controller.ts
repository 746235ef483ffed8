import type { ControlStore } from './control-store.js';
import { type Control, noControl } from './limits.js';

/**
 * How often to look: seldom only while hints arrive and nothing depends on them, as a single one may be lost. Who runs
 * tasks might start more of them against what was set, and who knows of a pause waits for its end.
 */
const seldomMs = 5_000;
const oftenMs = 800;

/**
 * Knows what was set at run time, in this process or another: looks when a hint says so, and now and then. It spares the
 * workers useless claims; that limits hold is the store's business, whatever a process knows.
 */
export class Controller {
  private control = noControl;
  private timer: NodeJS.Timeout | undefined;
  private looking: Promise<void> | undefined;
  private again = false;
  private stopped = true;
  /** A task has started since the latest beat. */
  private started = false;

  /** @param apply Told of what is known, after each look. */
  constructor(
    private readonly store: ControlStore,
    private readonly hinted: () => boolean,
    private readonly running: () => number,
    private readonly apply: (control: Control) => void,
    private readonly failed: (doing: string, error: unknown) => void,
  ) {}

  /** Looks once, before anybody is to be told. */
  async prime(): Promise<void> {
    this.control = await this.store.read();
  }

  start(): void {
    this.stopped = false;
    this.apply(this.control);
    this.later();
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  /** A task starts here. */
  starting(): void {
    this.started = true;
  }

  /** Something has changed, or may have. Never rejects. */
  look(): Promise<void> {
    // A look that is under way may have read what was there before.
    this.again = true;
    this.looking ??= this.lookUntilCurrent().finally(() => {
      this.looking = undefined;
    });
    return this.looking;
  }

  private async lookUntilCurrent(): Promise<void> {
    while (this.again && !this.stopped) {
      this.again = false;
      try {
        await this.read();
      } catch (error) {
        this.failed('read the limits and pauses', error);
      }
    }
  }

  private async read(): Promise<void> {
    this.control = await this.store.read();
    if (!this.stopped) this.apply(this.control);
  }

  private mayLookSeldom(): boolean {
    const { queues, pausedTasks } = this.control;
    const paused = pausedTasks.size > 0 || [...queues.values()].some((queue) => queue.paused);
    return this.hinted() && !paused && !this.started && this.running() === 0;
  }

  private later(): void {
    // The choice is made at each beat: hints may stop arriving in between.
    let lookedAt = performance.now();
    const beat = (): void => {
      this.timer = setTimeout(() => {
        if (this.stopped) return;
        const now = performance.now();
        const due = now - lookedAt >= (this.mayLookSeldom() ? seldomMs : oftenMs) - 1;
        this.started = false;
        if (!due) return beat();
        lookedAt = now;
        void this.look().then(() => {
          if (!this.stopped) beat();
        });
      }, oftenMs).unref();
    };
    beat();
  }
}
