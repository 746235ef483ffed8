import type { RateLimit } from '../engine/limits.js';

/** Tokens of one rate limit: each comes back one window after it was taken. Times are milliseconds since 1970. */
export class RateBucket {
  private takenAt: readonly number[] = [];
  private fullAt = -Infinity;

  /** Takes one. @returns False when there is none. */
  take(limit: RateLimit, now: number): boolean {
    this.takenAt = this.takenAt.filter((at) => at + limit.perMs > now);
    if (this.takenAt.length >= limit.max) return false;
    this.takenAt = [...this.takenAt, now];
    this.fullAt = Math.max(this.fullAt, now + limit.perMs);
    return true;
  }

  /** Gives back what was taken and came to nothing. */
  putBack(): void {
    this.takenAt = this.takenAt.slice(0, -1);
  }

  /** Whether all that was ever taken has come back. */
  isFull(now: number): boolean {
    return now >= this.fullAt;
  }

  /** In how many milliseconds there is one. */
  nextInMs({ max, perMs }: RateLimit, now: number): number {
    const first = this.takenAt.at(-max);
    return first === undefined ? 0 : Math.max(0, first + perMs - now);
  }
}
