import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dayMs, missing, over, type Partition, partitionAt, readPartition } from '../../lib/typeorm/partitions.js';

const at = (time: string) => Date.parse(time);
const noon = at('2026-11-22T12:00:00Z');
const names = (partitions: readonly Partition[]) => partitions.map(({ name }) => name);

describe('a partition', () => {
  it('spans the UTC day in which a time lies, its first moment included and its end not', () => {
    const day = { from: at('2026-11-22T00:00:00Z'), to: at('2026-11-23T00:00:00Z'), name: 'finished_task_20261122' };
    expect(partitionAt(day.from)).toEqual(day);
    expect(partitionAt(noon)).toEqual(day);
    expect(partitionAt(day.to - 1)).toEqual(day);
    expect(partitionAt(day.to).name).toBe('finished_task_20261123');
  });

  it('is read back from its name', () => {
    const days = fc.constantFrom(1, 7, 28);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: at('9000-01-01') }), days, (time, width) => {
        const partition = partitionAt(time, width);
        expect(readPartition(partition.name)).toEqual(partition);
        expect(partition.from <= time && time < partition.to).toBe(true);
      }),
    );
  });

  it.each(['', 'finished_task_default', 'finished_task_forever', 'finished_task_20261399', 'finished_task_2026112'])(
    'is not what is called %j',
    (name) => {
      expect(readPartition(name)).toBeNull();
    },
  );

  it('is over when its last day is', () => {
    const day = partitionAt(noon);
    expect(over([day], day.to - 1)).toEqual([]);
    expect(over([day], day.to)).toEqual([day]);
  });
});

describe('the partitions that are missing', () => {
  it.each<[title: string, keepMs: number[], expected: string[]]>([
    ['nothing, when nothing stays for a time', [], []],
    ['today and tomorrow, for an hour', [3_600_000], ['20261122', '20261123']],
    ['the days around the day a month ahead', [30 * dayMs], ['20261222', '20261223']],
    [
      'those of each retention',
      [dayMs, 2 * dayMs, 30 * dayMs],
      ['20261123', '20261124', '20261125', '20261222', '20261223'],
    ],
    ['the week a year ahead', [365 * dayMs], ['20271118_7d']],
    ['the four weeks ten years ahead', [3_653 * dayMs], ['20361106_28d']],
  ])('are %s', (_, keepMs, expected) => {
    const found = names(missing([], noon, keepMs, dayMs)).map((name) => name.replace('finished_task_', ''));
    expect(found).toEqual(expected);
  });

  it('are those days of a week that others leave free', () => {
    const there = [partitionAt(noon + 365 * dayMs)];
    expect(missing(there, noon, [365 * dayMs, 366 * dayMs, 363 * dayMs], 0)).toEqual([
      partitionAt(noon + 366 * dayMs),
      partitionAt(noon + 363 * dayMs),
    ]);
  });

  /** Some days, each with what is configured then and whether the work of the day is done. */
  const keep = fc.oneof(
    fc.integer({ min: 1, max: 3 * dayMs }),
    fc.integer({ min: 1, max: 100 * dayMs }),
    fc.integer({ min: 1, max: 3_653 * dayMs }),
  );
  const keeps = fc.array(keep, { maxLength: 4 });
  const days = fc.array(fc.record({ keeps, passMs: fc.integer({ min: 1, max: 3 * dayMs }) }), {
    minLength: 1,
    maxLength: 40,
  });

  it('cover each time that will be needed, never overlap, and go only when nothing in them stays', () => {
    fc.assert(
      fc.property(days, (history) => {
        let now = noon;
        let there: Partition[] = [];
        const stored: { keptUntil: number; partition: Partition | undefined }[] = [];
        for (const { keeps: configured, passMs } of history) {
          const gone = over(there, now);
          for (const { keptUntil, partition } of stored) {
            if (partition && gone.includes(partition)) expect(keptUntil).toBeLessThanOrEqual(now);
          }
          there = there.filter((partition) => !gone.includes(partition));
          there.push(...missing(there, now, configured, 4 * dayMs));
          const sorted = there.toSorted((a, b) => a.from - b.from);
          sorted.slice(1).forEach((one, i) => expect(sorted[i].to).toBeLessThanOrEqual(one.from));
          expect(new Set(names(there)).size).toBe(there.length);
          expect(missing(there, now, configured, 4 * dayMs)).toEqual([]);
          for (const keepMs of configured) {
            for (const endsIn of [0, dayMs, 4 * dayMs]) {
              const keptUntil = now + endsIn + keepMs;
              const partition = there.find(({ from, to }) => from <= keptUntil && keptUntil < to);
              expect(partition, `for ${keepMs} ms`).toBeDefined();
              stored.push({ keptUntil, partition });
            }
          }
          now += passMs;
        }
      }),
      { numRuns: 300 },
    );
  });

  it('never number more than some dozens for one retention, day after day', () => {
    for (const keepMs of [dayMs, 62 * dayMs, 63 * dayMs, 434 * dayMs, 435 * dayMs, 3_653 * dayMs]) {
      let there: Partition[] = [];
      for (let day = 0; day < 2 * 3_653; day += 4) {
        const now = noon + day * dayMs;
        there = there.filter(({ to }) => to > now);
        there.push(...missing(there, now, [keepMs], 4 * dayMs));
      }
      expect(there.length).toBeLessThanOrEqual(135);
    }
  });
});
