import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chunks } from '../../lib/typeorm/enqueue.js';
import { newTask, newTasks } from './engine.fixtures.js';

const mebibyte = 1024 * 1024;
const sizes = new Map<number, string>();
/** Payloads of equal length share one string. */
function payload(length: number): string {
  if (!sizes.has(length)) sizes.set(length, 'x'.repeat(length));
  return sizes.get(length)!;
}
const lengths = (all: ReturnType<typeof chunks>) => all.map((chunk) => chunk.length);

describe('chunks', () => {
  it('are none without tasks', () => {
    expect(chunks([])).toEqual([]);
  });

  it('hold at most a thousand tasks', () => {
    expect(lengths(chunks(newTasks(1_000)))).toEqual([1_000]);
    expect(lengths(chunks(newTasks(1_001)))).toEqual([1_000, 1]);
    expect(lengths(chunks(newTasks(2_500)))).toEqual([1_000, 1_000, 500]);
  });

  it('hold at most 8 MiB of payloads', () => {
    const tasks = newTasks(9, { payload: payload(mebibyte) });
    expect(lengths(chunks(tasks.slice(0, 8)))).toEqual([8]);
    expect(lengths(chunks(tasks))).toEqual([8, 1]);
    expect(lengths(chunks([...tasks.slice(0, 8), newTask({ payload: '1' })]))).toEqual([8, 1]);
  });

  it('hold a task that is larger than that alone', () => {
    const large = newTask({ payload: payload(9 * mebibyte) });
    expect(lengths(chunks([large]))).toEqual([1]);
    expect(lengths(chunks([newTask(), large, newTask()]))).toEqual([1, 1, 1]);
  });

  it('are the tasks in their order, none too large, none empty, and no two that fit into one', () => {
    const length = fc.oneof(
      { weight: 5, arbitrary: fc.integer({ min: 1, max: 100 }) },
      { weight: 2, arbitrary: fc.constantFrom(mebibyte, 3 * mebibyte, 8 * mebibyte, 9 * mebibyte) },
    );
    const runs = fc.array(fc.tuple(length, fc.constantFrom(1, 2, 7, 600)), { maxLength: 12 });
    fc.assert(
      fc.property(runs, (runs) => {
        const tasks = runs.flatMap(([length, count]) => newTasks(count, { payload: payload(length) }));
        const all = chunks(tasks);
        expect(all.flat().every((task, i) => task === tasks[i])).toBe(true);
        expect(all.flat()).toHaveLength(tasks.length);
        const weights = all.map((chunk) => chunk.reduce((sum, task) => sum + task.payload.length, 0));
        for (const [i, chunk] of all.entries()) {
          expect(chunk.length).toBeGreaterThanOrEqual(1);
          expect(chunk.length).toBeLessThanOrEqual(1_000);
          if (chunk.length > 1) expect(weights[i]).toBeLessThanOrEqual(8 * mebibyte);
          const next = all[i + 1]?.[0];
          if (next) expect(chunk.length === 1_000 || weights[i]! + next.payload.length > 8 * mebibyte).toBe(true);
        }
      }),
      { numRuns: 40 },
    );
  });
});
