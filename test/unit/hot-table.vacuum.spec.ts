import { beforeEach, describe, expect, it } from 'vitest';
import type { Run } from '../../lib/typeorm/database.js';
import { HotTableVacuum } from '../../lib/typeorm/hot-table.vacuum.js';
import { deferred, ticks } from './engine.fixtures.js';

/** Tasks that have to end before the first one. */
const least = 20_000;

describe('the vacuum of the hot table', () => {
  const sent: { text: string; values: readonly unknown[] }[] = [];
  let stays: { dead: number; rows: number };
  let work: () => Promise<unknown>;
  let vacuum: HotTableVacuum;

  beforeEach(() => {
    sent.length = 0;
    stays = { dead: 0, rows: 0 };
    work = async () => {};
    const run: Run = async ({ text }, values) => {
      sent.push({ text, values });
      if (!text.startsWith('VACUUM')) return [[String(stays.dead), String(stays.rows)]];
      await work();
      return [];
    };
    vacuum = new HotTableVacuum(run, 'my "schema"');
  });

  const vacuums = () => sent.filter(({ text }) => text.startsWith('VACUUM')).length;

  async function end(tasks: number): Promise<void> {
    vacuum.count(tasks);
    await ticks();
  }

  /** How many more tasks have to end until it comes again. */
  async function pause(): Promise<number> {
    const before = vacuums();
    let ended = 0;
    while (vacuums() === before && ended < 10_000_000) {
      await end(1_000);
      ended += 1_000;
    }
    return ended;
  }

  it('comes when enough tasks have ended, however few at a time', async () => {
    await end(least - 1);
    expect(sent).toEqual([]);
    await end(1);
    expect(vacuums()).toBe(1);
    expect(await pause()).toBe(least);
  });

  it('takes the table of its schema, and neither waits for locks nor takes long ones', async () => {
    await end(least);
    const [first, look] = sent;
    expect(first?.text).toMatch(/^VACUUM \((.*)\) "my ""schema"""\."task"$/);
    expect(first?.text).toContain('SKIP_LOCKED');
    expect(first?.text).toContain('TRUNCATE FALSE');
    expect(look?.values).toEqual(['"my ""schema"""."task"']);
  });

  it('comes one at a time, and counts on meanwhile', async () => {
    const underWay = deferred();
    work = () => underWay.promise;
    await end(least);
    await end(3 * least);
    expect(vacuums()).toBe(1);
    underWay.resolve();
    await ticks();
    expect(vacuums()).toBe(1);
    await end(1);
    expect(vacuums()).toBe(2);
  });

  it('waits for a part of a large table', async () => {
    stays = { dead: 0, rows: 1_000_000 };
    await end(least);
    expect(await pause()).toBe(200_000);
    stays = { dead: 0, rows: 0 };
    expect(await pause()).toBe(200_000);
    expect(await pause()).toBe(least);
  });

  it('comes more and more rarely while what is dead stays, up to a bound, and as before once it is gone', async () => {
    stays = { dead: 100_000_000, rows: 0 };
    await end(least);
    const pauses: number[] = [];
    for (let i = 0; i < 8; i++) pauses.push((await pause()) / least);
    expect(pauses).toEqual([2, 4, 8, 16, 32, 64, 64, 64]);
    stays = { dead: 0, rows: 0 };
    await pause();
    expect(await pause()).toBe(least);
  });

  it('takes what it could not remove for no help only when that is most of what has died', async () => {
    stays = { dead: least - 1, rows: 0 };
    await end(least);
    expect(await pause()).toBe(least);
    stays = { dead: least, rows: 0 };
    await pause();
    expect(await pause()).toBe(2 * least);
  });

  it('keeps its failures to itself, and comes more and more rarely while it fails', async () => {
    work = () => Promise.reject(new Error('canceling statement due to statement timeout'));
    await end(least);
    expect(vacuums()).toBe(1);
    expect(await pause()).toBe(2 * least);
    expect(await pause()).toBe(4 * least);
    work = async () => {};
    await pause();
    expect(await pause()).toBe(least);
  });
});
