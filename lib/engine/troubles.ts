import type { EngineReporter } from './task-event.js';

/** A failure of the store that is tried again. */
export interface Trouble {
  readonly doing: string;
  readonly message: string;
  readonly at: Date;
}

const quietMs = 30_000;

/** Remembers the store's latest failure, and logs one when trouble starts, then one every half minute. */
export class Troubles {
  latest: Trouble | null = null;
  /** Whether the store has not answered since. */
  lasting = false;
  private loggedAt = -Infinity;

  constructor(private readonly reporter: EngineReporter) {}

  report(doing: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.latest = { doing, message, at: new Date() };
    this.lasting = true;
    const now = performance.now();
    if (now - this.loggedAt < quietMs) return;
    this.loggedAt = now;
    this.reporter.log('error', `Could not ${doing}, trying again: ${message}`);
  }

  over(): void {
    this.lasting = false;
  }
}
