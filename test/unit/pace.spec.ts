import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Pace } from '../../lib/engine/pace.js';

function paceOf(claims: readonly number[], runs: readonly number[]): Pace {
  const pace = new Pace();
  for (const ms of claims) pace.claimed(ms);
  for (const ms of runs) pace.ran(ms);
  return pace;
}

describe('a pace', () => {
  it('lets nothing be claimed ahead before it knows both times', () => {
    expect(paceOf([], []).ahead(10)).toBe(0);
    expect(paceOf([5], []).ahead(10)).toBe(0);
    expect(paceOf([], [5]).ahead(10)).toBe(0);
  });

  it.each([
    [10, 5, 5, 10],
    [10, 10, 1, 100],
    [10, 1, 10, 1],
    [10, 1, 11, 0],
    [1, 2, 60_000, 0],
    [100, 50, 0, 1_000],
  ])('lets %s slots, claims of %s ms and runs of %s ms claim %s ahead', (slots, claimMs, runMs, ahead) => {
    expect(paceOf([claimMs], [runMs]).ahead(slots)).toBe(ahead);
  });

  it('follows what it observes, the latest twenty or so', () => {
    const pace = paceOf([10], [1]);
    for (let i = 0; i < 60; i++) pace.ran(100);
    expect(pace.ahead(10)).toBeLessThanOrEqual(1);
  });

  it('claims nothing ahead once tasks have turned out long', () => {
    const pace = paceOf([10], [1]);
    expect(pace.ahead(10)).toBe(100);
    pace.stalled(200);
    expect(pace.ahead(10)).toBe(0);
  });

  it('never lets more than a thousand, nor a part of one', () => {
    const times = fc.array(fc.double({ min: 0, max: 1e7, noNaN: true }), { maxLength: 5 });
    fc.assert(
      fc.property(times, times, fc.integer({ min: 1, max: 100_000 }), (claims, runs, slots) => {
        const ahead = paceOf(claims, runs).ahead(slots);
        expect(Number.isInteger(ahead)).toBe(true);
        expect(ahead).toBeGreaterThanOrEqual(0);
        expect(ahead).toBeLessThanOrEqual(1_000);
      }),
    );
  });
});
