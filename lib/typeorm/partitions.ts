/** Which partitions of finished tasks there are to be: pure decisions about times, in milliseconds since 1970. */

export const dayMs = 86_400_000;

/** A partition of `finished_task`: of all rows that stay until a time from `from` to before `to`. */
export interface Partition {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/**
 * How many days a partition spans that holds what stays for so long: a day up to two months, a week up to fourteen, then
 * four weeks. Whoever looks for a task by its id looks into each partition, so that there must not be thousands.
 */
function daysOf(keepMs: number): number {
  if (keepMs <= 62 * dayMs) return 1;
  return keepMs <= 62 * 7 * dayMs ? 7 : 28;
}

/** The partition of so many whole UTC days, counted from 1970, in which this time lies. */
export function partitionAt(time: number, days = 1): Partition {
  const from = Math.floor(time / (days * dayMs)) * days * dayMs;
  const date = new Date(from).toISOString().slice(0, 10).replaceAll('-', '');
  return { name: `finished_task_${date}${days === 1 ? '' : `_${days}d`}`, from, to: from + days * dayMs };
}

const named = /^finished_task_(\d{4})(\d{2})(\d{2})(?:_(\d{1,2})d)?$/;

/** What a name says of its partition; null for the two that are always there, and for those of other makers. */
export function readPartition(name: string): Partition | null {
  const [, year, month, day, days = '1'] = named.exec(name) ?? [];
  const from = Date.parse(`${year}-${month}-${day}T00:00:00Z`);
  return Number.isNaN(from) ? null : { name, from, to: from + Number(days) * dayMs };
}

/** Those that are over: no row in them stays any longer. */
export function over(partitions: readonly Partition[], now: number): Partition[] {
  return partitions.filter(({ to }) => to <= now);
}

/**
 * Those that are missing for what ends from now until `aheadMs` from now and stays for one of these times. None of them
 * overlaps another, or one that is there.
 */
export function missing(
  there: readonly Partition[],
  now: number,
  keepMs: readonly number[],
  aheadMs: number,
): Partition[] {
  const all = [...there];
  for (const keep of keepMs) {
    for (let time = now + keep; time <= now + keep + aheadMs;) {
      let place = all.find(({ from, to }) => from <= time && time < to);
      if (!place) {
        const wide = partitionAt(time, daysOf(keep));
        const free = all.every(({ from, to }) => to <= wide.from || wide.to <= from);
        place = free ? wide : partitionAt(time);
        all.push(place);
      }
      time = place.to;
    }
  }
  return all.slice(there.length);
}
