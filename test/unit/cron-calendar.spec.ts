import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CronCalendar } from '../../lib/cron-calendar.js';
import { InvalidScheduleError } from '../../lib/errors/schedule.errors.js';

const calendar = new CronCalendar();

function ticks(cron: string, timeZone: string, after: string, count: number): string[] {
  const found: string[] = [];
  let at: number | null = Date.parse(after);
  while (found.length < count && (at = calendar.next({ cron, timeZone }, at)) !== null) {
    found.push(new Date(at).toISOString().replace(':00.000Z', 'Z'));
  }
  return found;
}

describe('a wall-clock time in the gap of a change runs once, at the first time that there is', () => {
  it.each([
    // 02:00 to 03:00 is left out.
    ['America/New_York', '30 2 * * *', '2026-03-07T12:00Z', ['2026-03-08T07:00Z', '2026-03-09T06:30Z']],
    ['America/New_York', '0 30 2 * * *', '2026-03-07T12:00Z', ['2026-03-08T07:00Z', '2026-03-09T06:30Z']],
    ['Europe/Berlin', '30 2 * * *', '2026-03-28T12:00Z', ['2026-03-29T01:00Z', '2026-03-30T00:30Z']],
    // 02:00 to 02:30 is left out.
    ['Australia/Lord_Howe', '15 2 * * *', '2026-10-03T12:00Z', ['2026-10-03T15:30Z', '2026-10-04T15:15Z']],
    ['Australia/Lord_Howe', '45 2 * * *', '2026-10-03T12:00Z', ['2026-10-03T15:45Z', '2026-10-04T15:45Z']],
    // Midnight is left out.
    ['America/Havana', '0 0 * * *', '2026-03-07T12:00Z', ['2026-03-08T05:00Z', '2026-03-09T04:00Z']],
  ])('%s %s', (timeZone, cron, after, expected) => {
    expect(ticks(cron, timeZone, after, expected.length)).toEqual(expected);
  });
});

describe('a wall-clock time in the overlap of a change runs once, the first time', () => {
  it.each([
    ['America/New_York', '30 1 * * *', '2026-10-31T12:00Z', ['2026-11-01T05:30Z', '2026-11-02T06:30Z']],
    ['Europe/Berlin', '30 2 * * *', '2026-10-24T12:00Z', ['2026-10-25T00:30Z', '2026-10-26T01:30Z']],
    // 01:30 to 02:00 comes twice.
    ['Australia/Lord_Howe', '45 1 * * *', '2026-04-04T12:00Z', ['2026-04-04T14:45Z', '2026-04-05T15:15Z']],
    ['America/Havana', '0 0 * * *', '2026-10-31T12:00Z', ['2026-11-01T04:00Z', '2026-11-02T05:00Z']],
  ])('%s %s', (timeZone, cron, after, expected) => {
    expect(ticks(cron, timeZone, after, expected.length)).toEqual(expected);
  });
});

describe('each wall-clock time of a list, a range or a step runs once, and two in one gap run together', () => {
  it.each([
    ['30 1,2 * * *', '2026-11-01T04:00Z', ['2026-11-01T05:30Z', '2026-11-01T07:30Z', '2026-11-02T06:30Z']],
    ['0,30 1 * * *', '2026-11-01T04:10Z', ['2026-11-01T05:00Z', '2026-11-01T05:30Z', '2026-11-02T06:00Z']],
    ['30 1-3 * * *', '2026-11-01T04:00Z', ['2026-11-01T05:30Z', '2026-11-01T07:30Z', '2026-11-01T08:30Z']],
    ['10-30/20 1 * * *', '2026-11-01T04:00Z', ['2026-11-01T05:10Z', '2026-11-01T05:30Z', '2026-11-02T06:10Z']],
    ['0 */2 * * *', '2026-03-08T04:30Z', ['2026-03-08T05:00Z', '2026-03-08T07:00Z', '2026-03-08T08:00Z']],
    ['0 1-23/2 * * *', '2026-11-01T04:30Z', ['2026-11-01T05:00Z', '2026-11-01T08:00Z', '2026-11-01T10:00Z']],
    ['0,30 2 * * *', '2026-03-07T12:00Z', ['2026-03-08T07:00Z', '2026-03-09T06:00Z', '2026-03-09T06:30Z']],
    ['30 2,14 * * *', '2026-03-08T05:00Z', ['2026-03-08T07:00Z', '2026-03-08T18:30Z', '2026-03-09T06:30Z']],
    ['15 30 1,2 * * *', '2026-11-01T04:00Z', ['2026-11-01T05:30:15.000Z', '2026-11-01T07:30:15.000Z']],
    // From within the overlap, the second time.
    ['30 1,2 * * *', '2026-11-01T06:10Z', ['2026-11-01T07:30Z', '2026-11-02T06:30Z']],
    // Two changes before those that do not fall into a gap.
    ['0,30 2 8 3 *', '2026-01-01T00:00Z', ['2026-03-08T07:00Z', '2027-03-08T07:00Z', '2027-03-08T07:30Z']],
    // More times than a day has, as a rule: a stretch of the day, which is as long as it is.
    ['0-59 1-2 * * *', '2026-11-01T05:58Z', ['2026-11-01T05:59Z', '2026-11-01T06:00Z', '2026-11-01T06:01Z']],
  ])('%s', (cron, after, expected) => {
    expect(ticks(cron, 'America/New_York', after, expected.length)).toEqual(expected);
  });
});

it.each([
  ['30 1,2 * * *', '2026-11-01T06:45Z', ['2026-11-01T05:30:00.000Z']],
  ['0,30 2 8 3 *', '2027-03-08T07:00Z', ['2026-03-08T07:00:00.000Z']],
])('finds the tick of %s before %s that ran once', (cron, before, expected) => {
  const found = calendar.previous({ cron, timeZone: 'America/New_York' }, expected.length, Date.parse(before));
  expect(found.map((tick) => new Date(tick).toISOString())).toEqual(expected);
});

it('leaves out the day that Samoa left out, and no other', () => {
  // After the 29th of December 2011 came the 31st.
  expect(ticks('0 12 * * *', 'Pacific/Apia', '2011-12-29T00:00Z', 3)).toEqual([
    '2011-12-29T22:00Z',
    '2011-12-30T22:00Z',
    '2011-12-31T22:00Z',
  ]);
  // A day that does not exist is no time that does not exist: it is left out.
  expect(ticks('0 0 30 12 *', 'Pacific/Apia', '2011-12-01T00:00Z', 1)).toEqual(['2012-12-29T10:00Z']);
});

describe('every n minutes or seconds go on evenly', () => {
  const changes = [
    ['America/New_York', '2026-03-08T00:00Z'],
    ['America/New_York', '2026-11-01T00:00Z'],
    ['Europe/Berlin', '2026-03-28T18:00Z'],
    ['Europe/Berlin', '2026-10-24T18:00Z'],
    ['Australia/Lord_Howe', '2026-04-04T06:00Z'],
    ['Australia/Lord_Howe', '2026-10-03T06:00Z'],
    ['Pacific/Apia', '2011-12-30T00:00Z'],
  ] as const;
  const patterns = [
    ['*/5 * * * *', 300],
    ['*/15 * * * *', 900],
    ['*/30 * * * *', 1_800],
    ['0 */10 * * * *', 600],
    ['*/20 * * * * *', 20],
  ] as const;
  const table = changes.flatMap(([zone, from]) => patterns.map(([cron, every]) => [cron, zone, from, every] as const));
  it.each(table)('%s in %s from %s', (cron, timeZone, from, everySeconds) => {
    const pattern = { cron, timeZone };
    let at = Date.parse(from);
    const count = Math.min(Math.ceil((24 * 3_600) / everySeconds), 3_000);
    for (let i = 0; i < count; i++) {
      const next = calendar.next(pattern, at)!;
      if (next - at !== everySeconds * 1_000) expect([new Date(at), new Date(next)]).toEqual('evenly');
      at = next;
    }
  });
});

it.each([
  ['America/New_York', '2026-11-01T04:00Z', 24],
  ['America/New_York', '2026-03-08T04:00Z', 24],
])('ticks each hour that passes in %s from %s', (timeZone, after, hours) => {
  const found = ticks('0 * * * *', timeZone, after, hours);
  expect(found).toEqual(
    Array.from({ length: hours }, (_, i) =>
      new Date(Date.parse(after) + (i + 1) * 3_600_000).toISOString().replace(':00.000Z', 'Z'),
    ),
  );
});

describe('the edges of a tick', () => {
  const pattern = { cron: '0 * * * *', timeZone: 'UTC' };
  const tick = Date.UTC(2026, 0, 1, 12);

  it.each([
    [-1, 0],
    [-0.5, 0],
    [0, 3_600_000],
    [0.5, 3_600_000],
    [999, 3_600_000],
    [1_000, 3_600_000],
  ])('the next tick after one %d ms away', (offMs, expected) => {
    expect(calendar.next(pattern, tick + offMs)).toBe(tick + expected);
  });

  it.each([
    [0, -3_600_000],
    [1, 0],
    [1.5, 0],
    [999, 0],
    [1_000, 0],
    [60_000, 0],
  ])('the tick before one %d ms away', (offMs, expected) => {
    expect(calendar.previous(pattern, 1, tick + offMs)).toEqual([tick + expected]);
  });

  it('goes no further than there are ticks', () => {
    expect(calendar.next({ cron: '0 0 30 2 *', timeZone: 'UTC' }, tick)).toBeNull();
    expect(calendar.previous({ cron: '0 0 30 2 *', timeZone: 'UTC' }, 5, tick)).toEqual([]);
  });
});

const zones = ['UTC', 'America/New_York', 'Europe/Berlin', 'Australia/Lord_Howe', 'Asia/Kolkata', 'America/Havana'];
const field = (min: number, max: number) => {
  const value = fc.integer({ min, max });
  return fc.oneof(
    { weight: 3, arbitrary: fc.constant('*') },
    { weight: 3, arbitrary: value.map(String) },
    { weight: 1, arbitrary: fc.integer({ min: 2, max: Math.floor(max / 2) }).map((step) => `*/${step}`) },
    { weight: 1, arbitrary: fc.tuple(value, value).map((pair) => pair.toSorted((a, b) => a - b).join('-')) },
    { weight: 1, arbitrary: fc.uniqueArray(value, { minLength: 2, maxLength: 4 }).map((list) => list.join(',')) },
  );
};
const patternOf = fc
  .tuple(field(0, 59), field(0, 23), fc.oneof(fc.constant('*'), field(1, 28)), fc.constant('*'), field(0, 6))
  .map((fields) => fields.join(' '));
/** Around the changes of 2026, and anywhere in it. */
const timeOf = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(
        '2026-03-08T07:00Z',
        '2026-11-01T06:00Z',
        '2026-03-29T01:00Z',
        '2026-10-25T01:00Z',
        '2026-04-04T15:00Z',
        '2026-10-03T15:30Z',
      ),
      fc.integer({ min: -3 * 3_600_000, max: 3 * 3_600_000 }),
    )
    .map(([change, off]) => Date.parse(change) + off),
  fc.integer({ min: Date.UTC(2026, 0, 1), max: Date.UTC(2027, 0, 1) }),
);

describe('next and previous', () => {
  it('see the same ticks', () => {
    fc.assert(
      fc.property(patternOf, fc.constantFrom(...zones), timeOf, (cron, timeZone, from) => {
        const pattern = { cron, timeZone };
        const forwards: number[] = [];
        let at: number | null = from;
        while (forwards.length < 6 && (at = calendar.next(pattern, at)) !== null) {
          expect(at).toBeGreaterThan(forwards.at(-1) ?? from);
          forwards.push(at);
        }
        const last = forwards.at(-1);
        if (last === undefined) return;
        const backwards = calendar.previous(pattern, forwards.length, last + 1).toReversed();
        expect(backwards).toEqual(forwards);
        expect(calendar.next(pattern, last - 1)).toBe(last);
      }),
      { seed: 20_260_308, numRuns: 1_500 },
    );
  });
});

describe('what is refused', () => {
  const check =
    (cron: unknown, timeZone: unknown = 'UTC') =>
    () =>
      calendar.check('here', { cron, timeZone });

  it.each(['* * * * *', '*/5 * * * * *', ' 0 0 * * * ', '@daily', '@hourly', '0 0 L * *', '0 9 * JAN-MAR MON#1'])(
    'is not %s',
    (cron) => {
      expect(check(cron)).not.toThrow();
    },
  );

  it.each([
    ['60 * * * *', /here: .*"60 \* \* \* \*".*minute.*60/],
    ['* 24 * * *', /hour.*24/],
    ['* * 32 * *', /day.*32/],
    ['* * * 13 *', /month.*13/],
    ['* * * * 8', /dayOfWeek.*8/],
    ['61 * * * * *', /second.*61/],
    ['* * * NOP *', /NOP/],
    ['*/0 * * * *', /cannot be read/],
    ['@reboot', /@reboot/],
    ['@never', /@never/],
  ])('is %s, and what is wrong is said', (cron, message) => {
    expect(check(cron)).toThrow(InvalidScheduleError);
    expect(check(cron)).toThrow(message);
  });

  it.each([
    [''],
    ['* * * *'],
    ['* * * * * * *'],
    ['0 0 1 1 * 2030 *'],
    ['2026-01-01T00:00:00'],
    [undefined],
    [null],
    [5],
    [{}],
    [new Date()],
  ])('is what has not five or six fields: %s', (cron) => {
    expect(check(cron)).toThrow(InvalidScheduleError);
    expect(check(cron)).toThrow(/here: cron must have five fields/);
  });

  it('is the 30th of February, which never comes', () => {
    expect(check('0 0 30 2 *')).toThrow(InvalidScheduleError);
    expect(check('0 0 30 2 *')).toThrow(/"0 0 30 2 \*" never ticks/);
    expect(check('0 0 29 2 *')).not.toThrow();
  });

  it.each(['Europe/Berln', '', 'CEST+1', null, 5, {}])('is the time zone %s', (timeZone) => {
    expect(check('* * * * *', timeZone)).toThrow(InvalidScheduleError);
    expect(check('* * * * *', timeZone)).toThrow(/here: timeZone must be an IANA name/);
  });
});

it('reads more patterns than it keeps', () => {
  for (let i = 0; i < 2_500; i++) {
    const second = i % 60;
    const minute = Math.floor(i / 60);
    const tick = calendar.next({ cron: `${second} ${minute} 0 * * *`, timeZone: 'UTC' }, Date.UTC(2026, 0, 1) - 1);
    expect(tick).toBe(Date.UTC(2026, 0, 1, 0, minute, second));
  }
});
