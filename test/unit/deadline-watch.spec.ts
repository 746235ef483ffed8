import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DeadlineWatch, type Timed } from '../../lib/engine/deadline-watch.js';

class Running implements Timed {
  readonly deadline: number;
  endedAt: number | undefined;

  constructor(inMs: number) {
    this.deadline = performance.now() + inMs;
  }

  timeOut(): void {
    this.endedAt = performance.now();
    watch.delete(this);
  }
}

let watch: DeadlineWatch;

describe('a watch over deadlines', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    watch = new DeadlineWatch();
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it('ends each at its own deadline, whatever their order', async () => {
    const all = [300, 100, 200, 100, 5_000].map((inMs) => new Running(inMs));
    for (const timed of all) watch.add(timed);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(all.map(({ endedAt }) => endedAt)).toEqual(all.map(({ deadline }) => deadline));
  });

  it('has one timer for all, and none when nothing is left', () => {
    const all = [100, 200, 300].map((inMs) => new Running(inMs));
    for (const timed of all) watch.add(timed);
    expect(vi.getTimerCount()).toBe(1);
    for (const timed of all) watch.delete(timed);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('ends what comes after it has rung for one that was kept', async () => {
    const kept = new Running(100);
    const late = new Running(1_000);
    watch.add(kept);
    watch.add(late);
    watch.delete(kept);
    await vi.advanceTimersByTimeAsync(500);
    const soon = new Running(100);
    watch.add(soon);
    await vi.advanceTimersByTimeAsync(2_000);
    expect([kept.endedAt, soon.endedAt, late.endedAt]).toEqual([undefined, soon.deadline, late.deadline]);
    expect(vi.getTimerCount()).toBe(0);
  });
});
