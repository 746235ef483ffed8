import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Grace } from '../../lib/engine/grace.js';
import { isSettled } from './engine.fixtures.js';

describe('a grace', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  /** After how many of these milliseconds the grace is over, within an hour. */
  async function endOf(grace: Grace): Promise<number> {
    for (let ms = 0; ms < 3_600_000; ms += 100) {
      if (await isSettled(grace.over)) return ms;
      await vi.advanceTimersByTimeAsync(100);
    }
    return Infinity;
  }

  it('is over after its time', async () => {
    expect(await endOf(new Grace(1_000))).toBe(1_000);
  });

  it('is shortened by the least that anybody asks for, not prolonged', async () => {
    const grace = new Grace(10_000);
    grace.shorten(20_000);
    grace.shorten(2_000);
    grace.shorten(5_000);
    expect(vi.getTimerCount()).toBe(1);
    expect(await endOf(grace)).toBe(2_000);
  });

  it('counts what is asked for from when that is asked', async () => {
    const grace = new Grace(10_000);
    await vi.advanceTimersByTimeAsync(9_000);
    grace.shorten(2_000);
    expect(await endOf(grace)).toBe(1_000);
  });

  it('without end ends when somebody shortens it', async () => {
    const grace = new Grace(Infinity);
    expect(vi.getTimerCount()).toBe(0);
    grace.shorten(100);
    expect(await endOf(grace)).toBe(100);
  });

  it('longer than a timer can wait does not end at once', async () => {
    const set = vi.spyOn(globalThis, 'setTimeout');
    const grace = new Grace(2 ** 40);
    expect(set.mock.lastCall![1]).toBe(2 ** 31 - 1);
    grace.clear();
    set.mockRestore();
    expect(vi.getTimerCount()).toBe(0);
  });
});
