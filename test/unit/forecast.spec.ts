import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Forecast, type Starts } from '../../lib/engine/forecast.js';
import { Pace } from '../../lib/engine/pace.js';

/** The attempts under way: when they started, in this order. */
class Running implements Starts {
  readonly starts: number[] = [];

  startedBetween(after: number, by: number): number {
    return this.starts.filter((start) => start > after && start <= by).length;
  }

  firstStartAfter(time: number): number | undefined {
    return this.starts.find((start) => start > time);
  }

  start(count: number): void {
    for (let i = 0; i < count; i++) this.starts.push(performance.now());
  }
}

/** Of tasks that all run for 50 ms, and claims that all take 4: a task is ripe from 44 ms to 56. */
function paceOf(runs: readonly number[]): Pace {
  const pace = new Pace();
  pace.claimed(4);
  for (const ms of runs) pace.ran(ms);
  return pace;
}

let running: Running;
let told: number[];

function forecastOf(pace: Pace): Forecast {
  const forecast: Forecast = new Forecast(pace, running, () => told.push(forecast.ending));
  return forecast;
}

describe('a forecast', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    running = new Running();
    told = [];
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it('tells of those that started together before they end, and of each only once', async () => {
    const forecast = forecastOf(paceOf([50, 50, 50]));
    running.start(100);
    forecast.started();
    await vi.advanceTimersByTimeAsync(43);
    expect(told).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(told).toEqual([100]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(told).toEqual([100]);
  });

  it('counts none that is overdue, though it goes on, and those beside it all the same', async () => {
    const forecast = forecastOf(paceOf([50]));
    running.start(95);
    forecast.started();
    await vi.advanceTimersByTimeAsync(55);
    expect(forecast.ending).toBe(95);
    await vi.advanceTimersByTimeAsync(1);
    expect(forecast.ending).toBe(0);
    running.start(5);
    forecast.started();
    await vi.advanceTimersByTimeAsync(45);
    expect(forecast.ending).toBe(5);
    await vi.advanceTimersByTimeAsync(1_000);
    expect([forecast.ending, vi.getTimerCount()]).toEqual([0, 0]);
  });

  it('counts one less with each that ends', async () => {
    const forecast = forecastOf(paceOf([50]));
    running.start(2);
    forecast.started();
    await vi.advanceTimersByTimeAsync(44);
    for (const left of [1, 0, 0]) {
      forecast.ended();
      expect(forecast.ending).toBe(left);
    }
  });

  it('tells of those that started later when their time has come', async () => {
    const forecast = forecastOf(paceOf([50]));
    running.start(3);
    forecast.started();
    await vi.advanceTimersByTimeAsync(20);
    running.start(2);
    forecast.started();
    await vi.advanceTimersByTimeAsync(24);
    expect(told).toEqual([3]);
    running.starts.splice(0, 3);
    await vi.advanceTimersByTimeAsync(20);
    expect(told).toEqual([3, 2]);
  });

  it.each([
    ['whose length is not known', []],
    ['that are short', [1, 1]],
    ['that are long', [200, 200]],
    ['of which one takes longer than the other', [20, 100, 20, 100]],
  ])('tells nothing of tasks %s, and sets no timer', (_, runs) => {
    const forecast = forecastOf(paceOf(runs));
    running.start(100);
    forecast.started();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('tells nothing after it was stopped', async () => {
    const forecast = forecastOf(paceOf([50]));
    running.start(3);
    forecast.started();
    forecast.stop();
    expect(vi.getTimerCount()).toBe(0);
    await vi.advanceTimersByTimeAsync(100);
    expect([told, forecast.ending]).toEqual([[], 0]);
  });
});
