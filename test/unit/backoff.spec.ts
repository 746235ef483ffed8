import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Backoff, backoffMs, longestWaitMs } from '../../lib/engine/backoff.js';
import { InvalidOptionsError } from '../../lib/errors/configuration.errors.js';

const hourMs = 3_600_000;
const none = () => 0;
const most = () => 1 - Number.EPSILON;
const waits = (backoff: Backoff, retries: readonly number[], random = none) =>
  retries.map((n) => backoffMs(backoff, n, undefined, random));

const ms = fc.double({ min: 0, max: longestWaitMs, noNaN: true });
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const exponential = fc
  .record({
    initialMs: fc.oneof(ms, fc.constant(0)),
    factor: fc.double({ min: 1, max: 1e6, noNaN: true }),
    maxMs: ms,
    jitter: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map((options) => Backoff.exponential(options));
const mode = fc.oneof(
  fc.constant(Backoff.none()),
  ms.map((n) => Backoff.fixed(n)),
  ms.map((n) => Backoff.linear(n)),
  exponential,
);
const retries = fc.oneof(fc.nat(20), fc.nat(1_000_000));

describe('a backoff', () => {
  it.each<[string, Backoff, number[]]>([
    ['none retries at once', Backoff.none(), [0, 0, 0, 0]],
    ['fixed waits the same each time', Backoff.fixed(700), [700, 700, 700, 700]],
    ['linear waits one step longer each time', Backoff.linear(250), [250, 500, 750, 1_000]],
    ['exponential doubles from two seconds', Backoff.exponential(), [2_000, 4_000, 8_000, 16_000]],
    [
      'exponential multiplies up to its cap',
      Backoff.exponential({ initialMs: 100, factor: 3, maxMs: 1_000 }),
      [100, 300, 900, 1_000],
    ],
    ['a function is asked', (n) => n * 10 + 0.4, [0, 10, 20, 30]],
  ])('%s', (_, backoff, expected) => {
    expect(waits(backoff, [0, 1, 2, 3])).toEqual(expected);
  });

  it('is capped at one hour by default, plus at most a tenth', () => {
    expect(waits(Backoff.exponential(), [10, 11, 100, 1_000_000])).toEqual([2_048_000, hourMs, hourMs, hourMs]);
    expect(waits(Backoff.exponential(), [0, 11, 1_000_000], most)).toEqual([2_200, 3_960_000, 3_960_000]);
  });

  it('adds at most the fraction that jitter says', () => {
    fc.assert(
      fc.property(exponential, retries, random, (backoff, n, chance) => {
        const { jitter } = backoff as Extract<Backoff, { kind: 'exponential' }>;
        const [least, actual] = [waits(backoff, [n])[0]!, waits(backoff, [n], () => chance)[0]!];
        expect(actual).toBeGreaterThanOrEqual(least);
        expect(actual).toBeLessThanOrEqual((least + 1) * (1 + jitter) + 1);
      }),
    );
  });

  it('never waits less after more retries', () => {
    fc.assert(
      fc.property(mode, retries, retries, random, (backoff, a, b, chance) => {
        const [sooner, later] = waits(backoff, [Math.min(a, b), Math.max(a, b)], () => chance);
        expect(sooner).toBeLessThanOrEqual(later!);
      }),
    );
  });

  it('gives whole milliseconds from zero to ten years', () => {
    fc.assert(
      fc.property(fc.oneof(mode, fc.func(fc.double())), retries, random, (backoff, n, chance) => {
        const [wait] = waits(backoff, [n], () => chance);
        expect(Number.isInteger(wait)).toBe(true);
        expect(wait).toBeGreaterThanOrEqual(0);
        expect(wait).toBeLessThanOrEqual(longestWaitMs);
      }),
    );
  });

  it('retries at once, however often, when its first wait is zero', () => {
    expect(waits(Backoff.exponential({ initialMs: 0 }), [0, 1, 1_023, 1_024, 5_000])).toEqual([0, 0, 0, 0, 0]);
  });

  it('hands a function the retries so far and the error', () => {
    const error = new Error('no');
    const asked: unknown[] = [];
    const backoff = (...all: unknown[]) => asked.push(...all);
    backoffMs(backoff, 4, error, none);
    expect(asked).toEqual([4, error]);
  });

  it.each<[unknown, number]>([
    [-5, 0],
    [-Infinity, 0],
    [Infinity, longestWaitMs],
    ['1500', 1_500],
    [1_500n, 1_500],
    [null, 0],
    [Number.NaN, 8_000],
    [undefined, 8_000],
    ['soon', 8_000],
    [Promise.resolve(1), 8_000],
    [{}, 8_000],
  ])('makes the best of a function that returns %s', (returned, expected) => {
    expect(waits((() => returned) as unknown as Backoff, [2])).toEqual([expected]);
  });
});

describe('a backoff with bad arguments is refused', () => {
  const notMs = [-1, Number.NaN, Infinity, longestWaitMs + 1, '5' as unknown as number, undefined as unknown as number];

  it.each(notMs)('fixed(%s)', (value) => {
    expect(() => Backoff.fixed(value)).toThrow(InvalidOptionsError);
    expect(() => Backoff.fixed(value)).toThrow(`Backoff.fixed: must be a number of milliseconds`);
  });

  it.each(notMs)('linear(%s)', (value) => {
    expect(() => Backoff.linear(value)).toThrow(InvalidOptionsError);
    expect(() => Backoff.linear(value)).toThrow('Backoff.linear:');
  });

  it.each(notMs)('exponential with initialMs or maxMs %s', (value) => {
    expect(() => Backoff.exponential({ initialMs: value })).toThrow('Backoff.exponential initialMs:');
    expect(() => Backoff.exponential({ maxMs: value })).toThrow('Backoff.exponential maxMs:');
  });

  it.each([0.99, 0, -2, Number.NaN, Infinity, '2' as unknown as number])('exponential with factor %s', (factor) => {
    expect(() => Backoff.exponential({ factor })).toThrow(InvalidOptionsError);
    expect(() => Backoff.exponential({ factor })).toThrow('factor must be');
  });

  it.each([-0.01, 1.01, Number.NaN])('exponential with jitter %s', (jitter) => {
    expect(() => Backoff.exponential({ jitter })).toThrow(InvalidOptionsError);
    expect(() => Backoff.exponential({ jitter })).toThrow('jitter must be');
  });

  it('but its bounds are not', () => {
    expect(waits(Backoff.fixed(longestWaitMs), [0])).toEqual([longestWaitMs]);
    expect(waits(Backoff.exponential({ factor: 1, jitter: 1 }), [5], most)).toEqual([4_000]);
  });
});
