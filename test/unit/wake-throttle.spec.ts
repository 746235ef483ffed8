import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WakeThrottle } from '../../lib/typeorm/wake-throttle.js';

describe('a wake throttle', () => {
  const sent: Record<string, number>[] = [];
  let throttle: WakeThrottle;

  beforeEach(() => {
    vi.useFakeTimers();
    sent.length = 0;
    throttle = new WakeThrottle((due) => sent.push(Object.fromEntries(due)));
  });

  afterEach(() => {
    throttle.stop();
    vi.useRealTimers();
  });

  it('tells at once after a quiet moment, for each queue', async () => {
    throttle.tell('a', 0);
    throttle.tell('b', 5);
    expect(sent).toEqual([{ a: 0 }, { b: 5 }]);
    await vi.advanceTimersByTimeAsync(5);
    throttle.tell('a', 0);
    expect(sent).toHaveLength(3);
  });

  it('shares one word for all that follow within the gap, with the first due time of each queue', async () => {
    throttle.tell('a', 0);
    throttle.tell('b', 0);
    for (const ms of [500, 20.5, 900]) throttle.tell('a', ms);
    throttle.tell('b', -3);
    expect(sent).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(4);
    expect(sent).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(1);
    expect(sent.slice(2)).toEqual([{ a: 21, b: 0 }]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('tells far less often than it is told under load, and leaves nothing untold', async () => {
    for (let ms = 0; ms < 1_000; ms++) {
      for (let i = 0; i < 10; i++) throttle.tell('a', 0);
      await vi.advanceTimersByTimeAsync(1);
    }
    await vi.advanceTimersByTimeAsync(5);
    expect(sent.length).toBeGreaterThanOrEqual(25);
    expect(sent.length).toBeLessThanOrEqual(205);
    await vi.advanceTimersByTimeAsync(1_000);
    throttle.tell('a', 0);
    expect(sent.at(-1)).toEqual({ a: 0 });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('counts what the caller tells by itself', async () => {
    expect(throttle.lead('a')).toBe(true);
    expect(throttle.lead('a')).toBe(false);
    expect(throttle.lead('b')).toBe(true);
    throttle.tell('a', 0);
    expect(sent).toEqual([]);
    await vi.advanceTimersByTimeAsync(5);
    expect(sent).toEqual([{ a: 0 }]);
  });

  it('tells nothing any more once it is stopped', async () => {
    throttle.tell('a', 0);
    throttle.tell('a', 0);
    throttle.stop();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sent).toEqual([{ a: 0 }]);
    expect(vi.getTimerCount()).toBe(0);
  });
});
