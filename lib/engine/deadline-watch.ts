/** What has to end by a time. */
export interface Timed {
  /** Monotonic milliseconds (performance.now). */
  readonly deadline: number;
  timeOut(): void;
}

/**
 * One timer for many deadlines. Nearly all that run end long before theirs: a timer for each would be set and cleared ten
 * thousands of times a second, for nothing. This one rings at the earliest deadline that it has seen, though that may have
 * been kept meanwhile, and then looks for the next.
 */
export class DeadlineWatch {
  private readonly watched = new Set<Timed>();
  private timer: NodeJS.Timeout | undefined;
  private ringsAt = Infinity;

  add(timed: Timed): void {
    this.watched.add(timed);
    if (timed.deadline < this.ringsAt) this.ringAt(timed.deadline);
  }

  delete(timed: Timed): void {
    this.watched.delete(timed);
    if (this.watched.size === 0) this.ringAt(Infinity);
  }

  private ringAt(at: number): void {
    clearTimeout(this.timer);
    this.ringsAt = at;
    if (at !== Infinity) this.timer = setTimeout(() => this.ring(), at - performance.now());
  }

  private ring(): void {
    const now = performance.now();
    const over: Timed[] = [];
    let next = Infinity;
    for (const timed of this.watched) {
      if (timed.deadline <= now) over.push(timed);
      else next = Math.min(next, timed.deadline);
    }
    // First, so that whatever becomes of those that are over, the others are watched.
    this.ringAt(next);
    for (const timed of over) timed.timeOut();
  }
}
