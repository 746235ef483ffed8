import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PacedLoop } from '../../lib/engine/paced-loop.js';
import { deferred, isSettled } from './engine.fixtures.js';

describe('a paced loop', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });

  afterEach(() => {
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
  });

  it('rests after each turn for as long as that says', async () => {
    const turn = vi.fn(async () => turn.mock.calls.length * 100);
    const loop = new PacedLoop(turn);
    await loop.start();
    for (const [index, restMs] of [100, 200, 300].entries()) {
      await vi.advanceTimersByTimeAsync(restMs - 1);
      expect(turn).toHaveBeenCalledTimes(index + 1);
      await vi.advanceTimersByTimeAsync(1);
      expect(turn).toHaveBeenCalledTimes(index + 2);
    }
    await loop.stop();
  });

  it('takes one turn at a time, and starts when the first is over', async () => {
    const slow = deferred<number>();
    const turn = vi.fn(() => slow.promise);
    const loop = new PacedLoop(turn);
    const started = loop.start();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(turn).toHaveBeenCalledOnce();
    expect(await isSettled(started)).toBe(false);
    slow.resolve(10);
    await started;
    await vi.advanceTimersByTimeAsync(10);
    expect(turn).toHaveBeenCalledTimes(2);
    await loop.stop();
  });

  it('takes its first turn later when it is told so', async () => {
    const turn = vi.fn(async () => 1_000);
    const loop = new PacedLoop(turn);
    loop.startIn(50);
    await vi.advanceTimersByTimeAsync(49);
    expect(turn).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(turn).toHaveBeenCalledOnce();
    await loop.stop();
  });

  it('stops when the turn under way is over, also one that the timer began, and can be started again', async () => {
    const slow = deferred<number>();
    const turn = vi.fn(async () => 10);
    const loop = new PacedLoop(turn);
    await loop.start();
    turn.mockReturnValueOnce(slow.promise);
    await vi.advanceTimersByTimeAsync(10);
    const stopped = loop.stop();
    expect(await isSettled(stopped)).toBe(false);
    slow.resolve(10);
    await stopped;
    await vi.advanceTimersByTimeAsync(1_000);
    expect(turn).toHaveBeenCalledTimes(2);
    await loop.start();
    await vi.advanceTimersByTimeAsync(10);
    expect(turn).toHaveBeenCalledTimes(4);
    await loop.stop();
  });
});
