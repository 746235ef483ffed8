import { describe, expect, it } from 'vitest';
import { type Calendar, type CatchUp, type Schedule, ticksDue } from '../../lib/engine/schedule.js';
import { scheduleOf } from './schedule.fixtures.js';

/** Ticks at each multiple of `everyMs`, and counts how many ticks it was asked for. */
class Every implements Calendar {
  asked = 0;

  constructor(private readonly everyMs: number) {}

  next(_schedule: unknown, after: number): number {
    this.asked++;
    return (Math.floor(after / this.everyMs) + 1) * this.everyMs;
  }

  previous(_schedule: unknown, count: number, before: number): number[] {
    this.asked += count;
    const latest = Math.ceil(before / this.everyMs) - 1;
    return Array.from({ length: count }, (_, i) => (latest - i) * this.everyMs);
  }
}

const minute = 60_000;
const due = (catchUp: CatchUp, nextAt: number): Schedule & { readonly nextAt: number } =>
  scheduleOf({ catchUp, nextAt }) as Schedule & { readonly nextAt: number };

describe('the ticks that are due', () => {
  const table: readonly (readonly [what: string, now: number, expected: Record<CatchUp, readonly number[]>])[] = [
    ['in the millisecond of the tick', 0, { none: [0], last: [0], all: [0] }],
    ['a little late', 7.5, { none: [0], last: [0], all: [0] }],
    ['a minute late', minute, { none: [0], last: [0], all: [0] }],
    ['more than a minute late', minute + 1, { none: [], last: [0], all: [0] }],
    ['just before the second tick', 10 * minute - 1, { none: [], last: [0], all: [0] }],
    ['at the second tick', 10 * minute, { none: [10], last: [10], all: [0, 10] }],
    ['at the fourth tick', 30 * minute, { none: [30], last: [30], all: [0, 10, 20, 30] }],
    ['a while after the fourth', 35 * minute, { none: [], last: [30], all: [0, 10, 20, 30] }],
  ];
  for (const catchUp of ['none', 'last', 'all'] as const) {
    it.each(table)(`are those of catchUp ${catchUp}: %s`, (_what, now, expected) => {
      const start = 1_000 * minute;
      const found = ticksDue(due(catchUp, start), start + now, new Every(10 * minute));
      expect(found).toEqual(expected[catchUp].map((minutes) => start + minutes * minute));
    });
  }

  it('are the latest 1,000 of more', () => {
    const calendar = new Every(minute);
    const upTo = (count: number) => ticksDue(due('all', minute), count * minute, calendar);
    expect(upTo(1_000)).toEqual(Array.from({ length: 1_000 }, (_, i) => (i + 1) * minute));
    expect(upTo(1_001)).toEqual(Array.from({ length: 1_000 }, (_, i) => (i + 2) * minute));
    expect(upTo(500_000).at(-1)).toBe(500_000 * minute);
    expect(upTo(500_000)).toHaveLength(1_000);
  });

  it('are found without a look at a thousand earlier ones', () => {
    const calendar = new Every(minute);
    ticksDue(due('all', 5 * minute), 5 * minute + 3, calendar);
    expect(calendar.asked).toBeLessThan(5);
  });

  it.each(['none', 'last', 'all'] as const)('are none when the pattern has none there any more: %s', (catchUp) => {
    // Another version of the time zones says so.
    expect(ticksDue(due(catchUp, 5 * minute), 6 * minute, new Every(10 * minute))).toEqual([]);
  });
});
