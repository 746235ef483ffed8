import { setTimeout as delay } from 'node:timers/promises';
import type { AppSettings } from './app.protocol.js';
import type { Harness } from './harness.js';

/** Lets dead workers come back, as whatever runs an application in production would, until it is told to stop. */
export class WorkerKeeper {
  /** How many have died. */
  deaths = 0;
  private stopping = false;
  private readonly stopped: Promise<void>;

  constructor(
    private readonly harness: Harness,
    private readonly count: number,
    private readonly settings: Partial<AppSettings>,
  ) {
    this.stopped = this.keep();
  }

  stop(): Promise<void> {
    this.stopping = true;
    return this.stopped;
  }

  private async keep(): Promise<void> {
    let kept = this.harness.apps.filter(({ alive, settings }) => alive && settings.workers);
    while (!this.stopping) {
      for (const app of kept) app.mayEnd = true;
      await delay(100);
      const living = kept.filter(({ alive }) => alive);
      this.deaths += kept.length - living.length;
      while (living.length < this.count) living.push(this.harness.spawn(this.settings));
      kept = living;
    }
  }
}
