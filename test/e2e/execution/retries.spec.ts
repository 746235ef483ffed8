import { Backoff, type BackoffFunction, UnrecoverableTaskError } from 'nestjs-backie';
import { describe, expect, it } from 'vitest';
import { bootApp, next } from '../../support/app.js';
import { found, hasten, taskOf } from '../../support/tasks.js';

const fails = (): never => {
  throw new Error('not today');
};
/** What the default backoff may choose before the first retry. */
const defaultFirst: [number, number] = [2_000, 2_200];
const tenYears = 10 * 365 * 24 * 3_600_000;

describe('attempts', () => {
  it('runs a failing task once more than its maxRetries, then leaves it failed with its history', async () => {
    const seen: object[] = [];
    const Work = taskOf(
      'work',
      (_payload, { attempt, retries, maxRetries, fencingToken, id }) => {
        seen.push({ attempt, retries, maxRetries, fencingToken, id });
        fails();
      },
      { maxRetries: 2, backoff: Backoff.none() },
    );
    const { tasks, events, pool } = await bootApp([Work]);
    const failed = next(events, 'failed');
    const { id } = await tasks.enqueue(Work);
    expect(await failed).toMatchObject([{ id, name: 'work', queue: 'default', attempt: 3 }]);
    const limits = { maxRetries: 2, id };
    expect(seen).toEqual([
      { attempt: 1, retries: 0, fencingToken: 1, ...limits },
      { attempt: 2, retries: 1, fencingToken: 2, ...limits },
      { attempt: 3, retries: 2, fencingToken: 3, ...limits },
    ]);
    const task = await found(tasks, id);
    expect(task).toMatchObject({ state: 'failed', attempt: 3, retries: 2, crashes: 0, workerId: null });
    const { workerId } = pool.status();
    expect(task.attempts).toMatchObject(
      [1, 2, 3].map((number) => ({ number, outcome: 'failed', workerId, error: { message: 'not today' } })),
    );
    for (const { startedAt, finishedAt } of task.attempts) {
      expect(finishedAt.getTime()).toBeGreaterThanOrEqual(startedAt.getTime());
    }
    expect(task.finishedAt).toBeInstanceOf(Date);
  });

  it.each([
    { title: 'four times by default', expected: 4 },
    { title: "by the module's defaults", defaults: { maxRetries: 1 }, expected: 2 },
    { title: "by the task's own number", defaults: { maxRetries: 1 }, declared: { maxRetries: 2 }, expected: 3 },
    { title: 'by what enqueue says', declared: { maxRetries: 2 }, enqueued: { maxRetries: 0 }, expected: 1 },
  ])('runs a failing task $title', async ({ defaults, declared, enqueued, expected }) => {
    let runs = 0;
    const count = () => {
      runs++;
      fails();
    };
    const Work = taskOf('work', count, declared);
    const { tasks, events } = await bootApp([Work], { defaults: { backoff: Backoff.none(), ...defaults } });
    const failed = next(events, 'failed');
    await tasks.enqueue(Work, undefined, enqueued);
    await failed;
    expect(runs).toBe(expected);
  });

  it('ends as done when a retry succeeds, and remembers every attempt', async () => {
    const Work = taskOf('work', (_payload, { attempt }) => attempt < 3 && fails(), { backoff: Backoff.none() });
    const { tasks, events } = await bootApp([Work], { defaults: { retention: 'keepAll' } });
    const done = next(events, 'done');
    const { id } = await tasks.enqueue(Work);
    expect(await done).toMatchObject([{ id, attempt: 3 }]);
    expect(await found(tasks, id)).toMatchObject({
      state: 'done',
      attempt: 3,
      retries: 2,
      attempts: [
        { number: 1, outcome: 'failed' },
        { number: 2, outcome: 'failed' },
        { number: 3, outcome: 'done' },
      ],
    });
  });

  it('fails at once, whatever retries are left, on an UnrecoverableTaskError or a subclass of it', async () => {
    class NoSuchUserError extends UnrecoverableTaskError {}
    const errors = [new UnrecoverableTaskError('hopeless'), new NoSuchUserError('no user 7')];
    const Work = taskOf('work', async (index: number) => {
      throw errors[index];
    });
    const { tasks, events } = await bootApp([Work]);
    const failed = next(events, 'failed', 2);
    const enqueued = await tasks.enqueueMany(Work, [0, 1]);
    expect((await failed).map(({ attempt }) => attempt)).toEqual([1, 1]);
    for (const [index, { id }] of enqueued.entries()) {
      const { name, message } = errors[index];
      const attempts = [{ number: 1, outcome: 'failed', error: { name, message } }];
      expect(await found(tasks, id)).toMatchObject({ state: 'failed', retries: 0, attempts });
    }
  });

  it('lets the siblings of failing tasks run undisturbed', async () => {
    const Work = taskOf('work', (bad: boolean) => bad && fails(), { maxRetries: 1, backoff: Backoff.none() });
    const { tasks, events } = await bootApp([Work], { queues: [{ name: 'default', concurrency: 3 }] });
    const ended = Promise.all([next(events, 'done', 30), next(events, 'failed', 30)]);
    await tasks.enqueueMany(
      Work,
      Array.from({ length: 60 }, (_, index) => index % 2 === 0),
    );
    await ended;
    expect(await tasks.counts()).toMatchObject({ ready: 0, running: 0, failed: 30 });
  });
});

describe('the wait before a retry', () => {
  it("is counted by the database's clock, and nothing runs before it is over", async () => {
    const Work = taskOf('work', (_payload, { attempt }) => attempt === 1 && fails(), { backoff: Backoff.fixed(300) });
    const { tasks, events } = await bootApp([Work], { defaults: { retention: 'keepAll', pollIntervalMs: 10 } });
    const retrying = next(events, 'retrying');
    const done = next(events, 'done');
    const { id } = await tasks.enqueue(Work);
    expect(await retrying).toMatchObject([{ id, attempt: 1, delayMs: 300 }]);
    await done;
    const { attempts, scheduledAt, startedAt } = await found(tasks, id);
    // Both times come from one statement of the database; a fraction of a millisecond is cut off.
    expect(Math.abs(scheduledAt.getTime() - attempts[0].finishedAt.getTime() - 300)).toBeLessThanOrEqual(1);
    expect(startedAt!.getTime()).toBeGreaterThanOrEqual(scheduledAt.getTime());
  });

  const modes: [title: string, backoff: Backoff | undefined, waits: [least: number, most: number][]][] = [
    ['none', Backoff.none(), [[0, 0]]],
    ['fixed', Backoff.fixed(70_000), [70_000, 70_000, 70_000].map((ms) => [ms, ms])],
    ['linear', Backoff.linear(70_000), [70_000, 140_000, 210_000].map((ms) => [ms, ms])],
    ['the default', undefined, [2_000, 4_000, 8_000].map((ms) => [ms, ms * 1.1])],
    [
      'exponential with options',
      Backoff.exponential({ initialMs: 30_000, factor: 3, maxMs: 100_000, jitter: 0 }),
      [30_000, 90_000, 100_000].map((ms) => [ms, ms]),
    ],
    [
      'a function of the retries and the error',
      (retries, error) => (retries + 1) * (error as Error).message.length * 10_000,
      [90_000, 180_000, 270_000].map((ms) => [ms, ms]),
    ],
  ];
  it.each(modes)('follows the mode: %s', async (_title, backoff, waits) => {
    const Work = taskOf('work', fails, { maxRetries: waits.length, backoff });
    const booted = await bootApp([Work]);
    const { tasks, events } = booted;
    let retrying = next(events, 'retrying');
    const { id } = await tasks.enqueue(Work);
    for (const [index, [least, most]] of waits.entries()) {
      const [{ delayMs, attempt }] = await retrying;
      expect(attempt).toBe(index + 1);
      expect(delayMs).toBeGreaterThanOrEqual(least);
      expect(delayMs).toBeLessThanOrEqual(most);
      if (delayMs > 0) {
        const { state, scheduledAt, attempts } = await found(tasks, id);
        expect(state).toBe('ready');
        expect(Math.abs(scheduledAt.getTime() - attempts[index].finishedAt.getTime() - delayMs)).toBeLessThanOrEqual(1);
      }
      retrying = next(events, 'retrying');
      await hasten(booted, id);
    }
    retrying.catch(() => {});
  });

  const broken: [title: string, backoff: () => unknown, least: number, most: number][] = [
    ['throws', fails, ...defaultFirst],
    ['returns NaN', () => Number.NaN, ...defaultFirst],
    ['returns nothing', () => undefined, ...defaultFirst],
    ['returns a promise', () => Promise.resolve(1), ...defaultFirst],
    ['returns a symbol', () => Symbol('soon'), ...defaultFirst],
    ['returns less than zero', () => -5, 0, 0],
    ['returns Infinity', () => Infinity, tenYears, tenYears],
    ['returns a fraction', () => 50_000.4, 50_000, 50_000],
  ];
  it.each(broken)('is sane when a backoff function %s', async (_title, backoff, least, most) => {
    const Work = taskOf('work', fails, { maxRetries: 1, backoff: backoff as BackoffFunction });
    const { tasks, events } = await bootApp([Work]);
    const retrying = next(events, 'retrying');
    const { id } = await tasks.enqueue(Work);
    const [{ delayMs }] = await retrying;
    expect(delayMs).toBeGreaterThanOrEqual(least);
    expect(delayMs).toBeLessThanOrEqual(most);
    expect(await found(tasks, id)).toMatchObject({ retries: 1 });
  });
});
