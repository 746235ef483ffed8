/** NOTIFY takes a lock on the whole database server at commit, so under load each queue gets one only so often. */
const shortestGapMs = 5;
const mostQueues = 1_000;

/**
 * Decides when to tell the workers of other processes about new tasks. The first task after a quiet moment is told at
 * once; those that follow within the gap share one NOTIFY at its end.
 */
export class WakeThrottle {
  private readonly toldAt = new Map<string, number>();
  /** Queue → in how many milliseconds the first of its untold tasks falls due. */
  private untold = new Map<string, number>();
  private timer: NodeJS.Timeout | undefined;

  /** @param send Wakes the workers of these queues; must not throw. */
  constructor(private readonly send: (dueInMs: ReadonlyMap<string, number>) => void) {}

  /** Whether it is quiet, so that the caller may notify by itself, within its own statement; counts as told then. */
  lead(queue: string): boolean {
    const now = performance.now();
    if (this.untold.has(queue) || now - (this.toldAt.get(queue) ?? -Infinity) < shortestGapMs) return false;
    if (this.toldAt.size >= mostQueues) this.toldAt.clear();
    this.toldAt.set(queue, now);
    return true;
  }

  /** Something was stored on the queue and committed, and falls due in so many milliseconds. */
  tell(queue: string, inMs: number): void {
    const dueInMs = Math.max(0, Math.ceil(inMs));
    if (this.lead(queue)) return this.send(new Map([[queue, dueInMs]]));
    this.untold.set(queue, Math.min(this.untold.get(queue) ?? Infinity, dueInMs));
    this.timer ??= setTimeout(() => this.flush(), shortestGapMs).unref();
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.untold.clear();
  }

  private flush(): void {
    const due = this.untold;
    this.untold = new Map();
    this.timer = undefined;
    const now = performance.now();
    for (const queue of due.keys()) this.toldAt.set(queue, now);
    this.send(due);
  }
}
