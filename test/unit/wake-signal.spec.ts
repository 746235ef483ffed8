import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WakeSignal } from '../../lib/engine/wake-signal.js';
import { isSettled, ticks } from './engine.fixtures.js';

const hourMs = 3_600_000;

describe('a wake signal', () => {
  let signal: WakeSignal;

  beforeEach(() => {
    vi.useFakeTimers();
    signal = new WakeSignal();
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it('lets its sleeper sleep for the given time', async () => {
    const asleep = signal.sleep(1_000);
    await vi.advanceTimersByTimeAsync(999);
    expect(await isSettled(asleep)).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(await isSettled(asleep)).toBe(true);
  });

  it('wakes its sleeper and leaves no timer behind', async () => {
    const asleep = signal.sleep(hourMs);
    signal.wake();
    await asleep;
    expect(vi.getTimerCount()).toBe(0);
  });

  it('keeps a wake-up for the next sleep, and several as one', async () => {
    signal.wake();
    signal.wake();
    await signal.sleep(hourMs);
    const asleep = signal.sleep(hourMs);
    expect(await isSettled(asleep)).toBe(false);
  });

  it('does not wake the next sleep with what woke this one', async () => {
    const asleep = signal.sleep(hourMs);
    signal.wake();
    signal.wake();
    await asleep;
    expect(await isSettled(signal.sleep(hourMs))).toBe(false);
  });

  it('wakes after the given time, not before', async () => {
    signal.wakeIn(500);
    const asleep = signal.sleep(hourMs);
    await vi.advanceTimersByTimeAsync(500);
    expect(await isSettled(asleep)).toBe(false);
    await vi.advanceTimersByTimeAsync(2);
    expect(await isSettled(asleep)).toBe(true);
  });

  it.each([0, -1])('wakes at once in %s milliseconds', async (ms) => {
    const asleep = signal.sleep(hourMs);
    signal.wakeIn(ms);
    expect(await isSettled(asleep)).toBe(true);
  });

  it('forgets its alarms when it is cleared', async () => {
    signal.wakeIn(500);
    signal.clear();
    const asleep = signal.sleep(hourMs);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await isSettled(asleep)).toBe(false);
  });

  it('sets at most a thousand alarms, and again as many when those have rung', async () => {
    for (let i = 0; i < 5_000; i++) signal.wakeIn(500);
    expect(vi.getTimerCount()).toBe(1_000);
    await vi.advanceTimersByTimeAsync(502);
    expect(vi.getTimerCount()).toBe(0);
    signal.wakeIn(500);
    expect(vi.getTimerCount()).toBe(1);
  });

  it.each([2 ** 31 - 2, 2 ** 31 - 1, 2 ** 31, 10 * 365 * 24 * hourMs])(
    'leaves an alarm that no timer can hold to polling (%s)',
    (ms) => {
      const set = vi.spyOn(globalThis, 'setTimeout');
      signal.wakeIn(ms);
      expect(set.mock.calls.every(([, delay]) => delay! <= 2 ** 31 - 1)).toBe(true);
      set.mockRestore();
    },
  );

  it('never loses a wake-up, however producers and the sleeper interleave', async () => {
    const tickCount = fc.nat(6);
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.constant({ kind: 'produce' as const }) },
      { weight: 3, arbitrary: tickCount.map((count) => ({ kind: 'ticks' as const, count })) },
      { weight: 1, arbitrary: fc.integer({ min: 1, max: 5 }).map((ms) => ({ kind: 'produceIn' as const, ms })) },
      { weight: 1, arbitrary: fc.integer({ min: 1, max: 12 }).map((ms) => ({ kind: 'pass' as const, ms })) },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 40 }),
        fc.array(tickCount, { minLength: 1, maxLength: 5 }),
        fc.array(fc.constantFrom(3, 10, hourMs), { minLength: 1, maxLength: 3 }),
        async (steps, looks, sleeps) => {
          const signal = new WakeSignal();
          let produced = 0;
          let seen = 0;
          const state = { running: true };
          const loop = (async () => {
            for (let i = 0; state.running; i++) {
              // What a look finds is decided when it starts; it takes its time, as a claim does.
              const found = produced;
              await ticks(looks[i % looks.length]!);
              seen = found;
              await signal.sleep(sleeps[i % sleeps.length]!);
            }
          })();
          for (const step of steps) {
            switch (step.kind) {
              case 'produce':
                produced++;
                signal.wake();
                break;
              case 'produceIn':
                setTimeout(() => produced++, step.ms);
                signal.wakeIn(step.ms);
                break;
              case 'ticks':
                await ticks(step.count);
                break;
              case 'pass':
                await vi.advanceTimersByTimeAsync(step.ms);
            }
          }
          // Every alarm rings in it, but no sleep of an hour ends by itself.
          await vi.advanceTimersByTimeAsync(100);
          expect(seen).toBe(produced);
          state.running = false;
          signal.wake();
          await ticks();
          signal.wake();
          await loop;
        },
      ),
    );
  });
});
