import { AsyncLocalStorage } from 'node:async_hooks';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GroupCommit } from '../../lib/engine/group-commit.js';
import { deferred, type Deferred, isSettled, ticks } from './engine.fixtures.js';

class BadItemError extends Error {}

interface Options {
  readonly maxBatch: number;
  readonly maxUnderWay: number;
  readonly divisible: (error: unknown) => boolean;
}

/** What a caller that wants a promise makes of a group commit. */
class Commits<Item, Result> {
  private readonly inner: GroupCommit<{ readonly item: Item } & Omit<Deferred<Result>, 'promise'>, Result>;

  constructor(send: (items: readonly Item[]) => Promise<readonly Result[]>, given: Options) {
    this.inner = new GroupCommit((calls) => send(calls.map(({ item }) => item)), {
      ...given,
      resolve: (call, result) => call.resolve(result),
      reject: (call, error) => call.reject(error),
    });
  }

  get size(): number {
    return this.inner.size;
  }

  submit(item: Item): Promise<Result> {
    const { promise, resolve, reject } = deferred<Result>();
    this.inner.submit({ item, resolve, reject });
    return promise;
  }

  idle(): Promise<void> {
    return this.inner.idle();
  }
}

const options: Options = { maxBatch: 1_000, maxUnderWay: 1, divisible: (error) => error instanceof BadItemError };

/** A store whose statements return when the test lets them; each gives back its items, negated. */
function slowStore(fields: Partial<Options> = {}) {
  const sent: { readonly items: readonly number[]; readonly done: Deferred<void> }[] = [];
  const commits = new Commits<number, number>(
    async (items) => {
      const done = deferred();
      sent.push({ items, done });
      await done.promise;
      return items.map((item) => -item);
    },
    { ...options, ...fields },
  );
  return { commits, sent, batches: () => sent.map(({ items }) => items) };
}

describe('a group commit', () => {
  it('sends a lone call within the same turn of microtasks', async () => {
    const { commits, batches } = slowStore();
    void commits.submit(1);
    await Promise.resolve();
    expect(batches()).toEqual([[1]]);
  });

  it('sends calls of one breath together', async () => {
    const { commits, batches } = slowStore();
    for (const item of [1, 2, 3]) void commits.submit(item);
    await ticks();
    expect(batches()).toEqual([[1, 2, 3]]);
  });

  it('collects while a statement is under way and sends the rest as the next one', async () => {
    const { commits, sent, batches } = slowStore();
    void commits.submit(1);
    await ticks();
    for (const item of [2, 3]) void commits.submit(item);
    await ticks();
    void commits.submit(4);
    await ticks();
    expect(batches()).toEqual([[1]]);
    sent[0]!.done.resolve();
    await ticks();
    expect(batches()).toEqual([[1], [2, 3, 4]]);
  });

  it('gives every caller its own result, in whatever order statements return', async () => {
    const { commits, sent } = slowStore({ maxBatch: 2, maxUnderWay: 3 });
    const results = Promise.all([1, 2, 3, 4, 5].map((item) => commits.submit(item)));
    await ticks();
    for (const { done } of sent.toReversed()) done.resolve();
    expect(await results).toEqual([-1, -2, -3, -4, -5]);
  });

  it('goes on after a statement that failed as a whole', async () => {
    const { commits, sent } = slowStore();
    const calls = [commits.submit(1), commits.submit(2)];
    await ticks();
    const error = new Error('no answer');
    sent[0]!.done.reject(error);
    expect(await Promise.allSettled(calls)).toEqual(calls.map(() => ({ status: 'rejected', reason: error })));
    expect(sent).toHaveLength(1);
    const next = commits.submit(3);
    await ticks();
    sent[1]!.done.resolve();
    expect(await next).toBe(-3);
  });

  it('survives a send that throws at once', async () => {
    const commits = new Commits<number, number>(() => {
      throw new Error('at once');
    }, options);
    await expect(commits.submit(1)).rejects.toThrow('at once');
    await commits.idle();
  });

  it('lets a bad item fail alone, however many there are', async () => {
    const bad = fc.uniqueArray(fc.nat(63), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(bad, fc.integer({ min: 1, max: 64 }), async (bad, count) => {
        let statements = 0;
        const commits = new Commits<number, string>(async (items) => {
          statements++;
          if (items.some((item) => bad.includes(item))) throw new BadItemError(String(items));
          return items.map((item) => `stored ${item}`);
        }, options);
        const items = Array.from({ length: count }, (_, i) => i);
        const results = await Promise.allSettled(items.map((item) => commits.submit(item)));
        for (const [item, result] of results.entries()) {
          if (bad.includes(item)) expect(result).toMatchObject({ reason: { message: String(item) } });
          else expect(result).toEqual({ status: 'fulfilled', value: `stored ${item}` });
        }
        // Each bad item costs at most two statements a halving.
        const found = bad.filter((item) => item < count).length;
        expect(statements).toBeLessThanOrEqual(1 + 2 * found * Math.ceil(Math.log2(count)));
      }),
    );
  });

  it('never sends more at once, nor larger statements, than it may, nor in another order', async () => {
    const limit = fc.integer({ min: 1, max: 5 });
    const steps = fc.array(fc.oneof(fc.constant('submit' as const), fc.nat(4)), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(limit, limit, steps, async (maxBatch, maxUnderWay, steps) => {
        const { commits, sent, batches } = slowStore({ maxBatch, maxUnderWay });
        const results: Promise<number>[] = [];
        let returned = 0;
        for (const step of steps) {
          if (step === 'submit') results.push(commits.submit(results.length));
          else {
            await ticks(step);
            if (returned < sent.length) sent[returned++]!.done.resolve();
          }
          expect(sent.length - returned).toBeLessThanOrEqual(maxUnderWay);
        }
        while (!(await isSettled(Promise.all(results)))) {
          expect(sent.length - returned).toBeLessThanOrEqual(maxUnderWay);
          sent[returned++]!.done.resolve();
        }
        expect(await Promise.all(results)).toEqual(results.map((_, item) => -item));
        expect(batches().every((items) => items.length >= 1 && items.length <= maxBatch)).toBe(true);
        expect(batches().flat()).toEqual(results.map((_, item) => item));
      }),
    );
  });

  it('counts the items that wait or are under way', async () => {
    const { commits, sent } = slowStore({ maxBatch: 3 });
    expect(commits.size).toBe(0);
    for (const item of [1, 2, 3, 4, 5]) void commits.submit(item);
    expect(commits.size).toBe(5);
    await ticks();
    expect(commits.size).toBe(5);
    sent[0]!.done.resolve();
    await ticks();
    expect(commits.size).toBe(2);
    sent[1]!.done.resolve();
    await ticks();
    expect(commits.size).toBe(0);
  });

  it('is idle at once when nothing is under way, else when the last statement has returned', async () => {
    const { commits, sent } = slowStore({ maxBatch: 1, maxUnderWay: 2 });
    await commits.idle();
    for (const item of [1, 2, 3]) void commits.submit(item);
    const idle = [commits.idle(), commits.idle()];
    for (let i = 0; i < 3; i++) {
      await ticks();
      expect(await isSettled(Promise.race(idle))).toBe(false);
      sent[i]!.done.resolve();
    }
    await Promise.all(idle);
    expect(commits.size).toBe(0);
  });

  it('leaves every caller in its own async context', async () => {
    const context = new AsyncLocalStorage<string>();
    const { commits, sent } = slowStore({ maxBatch: 2 });
    const callers = ['a', 'b', 'c'].map((name, item) =>
      context.run(name, async () => {
        await commits.submit(item);
        return context.getStore();
      }),
    );
    for (let i = 0; i < 2; i++) {
      await ticks();
      sent[i]!.done.resolve();
    }
    expect(await Promise.all(callers)).toEqual(['a', 'b', 'c']);
  });

  it('goes on when a caller throws at its result, and the process hears of it', async () => {
    const heard: unknown[] = [];
    const listeners = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection');
    process.on('unhandledRejection', (error) => heard.push(error));
    try {
      const told: number[] = [];
      const commits = new GroupCommit<number, number>(async (items) => items, {
        ...options,
        resolve: (item) => {
          told.push(item);
          if (item === 1) throw new Error('not my day');
        },
        reject: () => {},
      });
      for (const item of [1, 2]) commits.submit(item);
      await commits.idle();
      commits.submit(3);
      await commits.idle();
      expect(told).toEqual([1, 2, 3]);
      await new Promise((resolve) => setImmediate(resolve));
      expect(heard).toEqual([expect.objectContaining({ message: 'not my day' })]);
    } finally {
      process.removeAllListeners('unhandledRejection');
      for (const listener of listeners) process.on('unhandledRejection', listener);
    }
  });
});
