import type { ControlStore } from './control-store.js';
import { type Control, noControl } from './limits.js';
import { PacedLoop } from './paced-loop.js';

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
  private readonly beats = new PacedLoop(() => this.beat());
  private lookedAt = 0;
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
    this.lookedAt = performance.now();
    this.beats.startIn(oftenMs);
  }

  /** Does not wait for a look that is under way: nothing depends on it any more. */
  stop(): void {
    this.stopped = true;
    void this.beats.stop();
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

  /** Whether it is time to look is asked at each beat: hints may stop arriving in between. */
  private async beat(): Promise<number> {
    const now = performance.now();
    const due = now - this.lookedAt >= (this.mayLookSeldom() ? seldomMs : oftenMs) - 1;
    this.started = false;
    if (due) {
      this.lookedAt = now;
      await this.look();
    }
    return oftenMs;
  }
}
