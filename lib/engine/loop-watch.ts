import type { EngineReporter } from './task-event.js';

/** How often the pool looks after what runs: a cancel whose hint was lost, the lease, the event loop's lag. */
export const tickMs = 1_000;
/** A lag that is worth a warning, unless the lease is so short that half of it is less. */
const longLagMs = 5_000;
const mostNamed = 10;

/** Measures, tick by tick, by how much the event loop is late. That delays everything in the process, timeouts included. */
export class LoopWatch {
  /** By how many milliseconds the latest tick came late. */
  lagMs = 0;
  private lastTick = performance.now();

  constructor(
    private readonly leaseMs: number,
    private readonly reporter: EngineReporter,
  ) {}

  /**
   * @param suspects What may have blocked the loop: it may run on, but as a rule it has ended before this timer can say
   * so.
   */
  tick(suspects: readonly { readonly id: string; readonly name: string }[]): void {
    const now = performance.now();
    const lagMs = Math.round(now - this.lastTick - tickMs);
    this.lastTick = now;
    this.lagMs = Math.max(0, lagMs);
    if (lagMs < Math.min(longLagMs, this.leaseMs / 2)) return;
    const named = suspects.slice(0, mostNamed).map(({ name, id }) => `"${name}" ${id}`);
    this.reporter.log(
      'warn',
      `The event loop was blocked for ${lagMs} ms; what ran: ${named.join(', ') || 'no task'}. ` +
        `Move long computations to a worker thread, or let them pause now and then.`,
    );
  }
}
