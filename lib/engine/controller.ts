import type { ControlStore } from './control-store.js';
import { type Control, noControl } from './limits.js';

/** How often to look while hints arrive, and while they do not. */
const hintedMs = 5_000;
const unhintedMs = 800;

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

  /** @param apply Told of what is known, after each look. */
  constructor(
    private readonly store: ControlStore,
    private readonly hinted: () => boolean,
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

  private later(): void {
    // The choice is made at each beat: hints may stop arriving in between.
    let lookedAt = performance.now();
    const beat = (): void => {
      this.timer = setTimeout(() => {
        if (this.stopped) return;
        const now = performance.now();
        const due = now - lookedAt >= (this.hinted() ? hintedMs : unhintedMs) - 1;
        if (!due) return beat();
        lookedAt = now;
        void this.look().then(() => {
          if (!this.stopped) beat();
        });
      }, unhintedMs).unref();
    };
    beat();
  }
}
