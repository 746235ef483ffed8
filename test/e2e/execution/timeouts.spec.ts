import { Backoff, TaskTimeoutError } from 'nestjs-backie';
import { expect, it, onTestFinished } from 'vitest';
import { bootApp, next } from '../../support/app.js';
import { abortReason, deferred, forever, found, taskOf } from '../../support/tasks.js';

it('ends an attempt at its timeout though the handler never settles, and gives its slot to the next task', async () => {
  const reason = deferred<unknown>();
  const Stuck = taskOf(
    'stuck',
    (_payload, { signal }) => {
      void abortReason(signal).then(reason.resolve);
      return forever();
    },
    { timeoutMs: 50, maxRetries: 0 },
  );
  const Work = taskOf('work', () => {});
  const { tasks, events, pool } = await bootApp([Stuck, Work], { queues: [{ name: 'default', concurrency: 1 }] });
  const failed = next(events, 'failed');
  const done = next(events, 'done');
  const { id } = await tasks.enqueue(Stuck);
  await tasks.enqueue(Work);
  expect(await failed).toMatchObject([{ id, error: { name: 'TaskTimeoutError' } }]);
  expect(await reason.promise).toBeInstanceOf(TaskTimeoutError);
  expect((await failed)[0].durationMs).toBeGreaterThanOrEqual(49);
  await done;
  expect(pool.status().queues).toMatchObject([{ name: 'default', running: 0 }]);
  const attempts = [{ number: 1, outcome: 'timedOut', error: { name: 'TaskTimeoutError' } }];
  const task = await found(tasks, id);
  expect(task).toMatchObject({ state: 'failed', attempts });
  expect(task.attempts[0].error?.message).toContain('"stuck" did not finish within 50 ms');
});

it.each([
  { source: 'of the call of enqueue', expected: 10_001, enqueued: 10_001, declared: 2, queue: 3, fallback: 4 },
  { source: 'of the task', expected: 10_002, declared: 10_002, queue: 3, fallback: 4 },
  { source: 'of the queue', expected: 10_003, queue: 10_003, fallback: 4 },
  { source: "of the module's defaults", expected: 10_004, fallback: 10_004 },
  { source: 'of two minutes by default', expected: 120_000 },
])('gives an attempt the timeout $source', async ({ expected, enqueued, declared, queue, fallback }) => {
  const seen: number[] = [];
  const Work = taskOf('work', (_payload, { timeoutMs }) => seen.push(timeoutMs), { timeoutMs: declared });
  const { tasks, events } = await bootApp([Work], {
    queues: [{ name: 'default', executionTimeoutMs: queue }],
    defaults: { timeoutMs: fallback },
  });
  const done = next(events, 'done');
  await tasks.enqueue(Work, undefined, { timeoutMs: enqueued });
  await done;
  expect(seen).toEqual([expected]);
});

it.each([
  { source: 'enqueue', enqueued: { timeoutMs: 40 } },
  { source: 'the task', declared: { timeoutMs: 40 } },
  { source: 'the queue', queue: { executionTimeoutMs: 40 } },
])('ends an attempt by the timeout of $source', async ({ enqueued, declared, queue }) => {
  const Stuck = taskOf('stuck', forever, { maxRetries: 0, ...declared });
  const { tasks, events } = await bootApp([Stuck], { queues: [{ name: 'default', ...queue }] });
  const failed = next(events, 'failed');
  await tasks.enqueue(Stuck, undefined, enqueued);
  const [{ error, durationMs }] = await failed;
  expect(error).toBeInstanceOf(TaskTimeoutError);
  expect(durationMs).toBeLessThan(5_000);
});

it('retries a task that timed out, like any other failure', async () => {
  const Slow = taskOf('slow', (_payload, { attempt }) => (attempt === 1 ? forever() : undefined), {
    timeoutMs: 40,
    backoff: Backoff.none(),
  });
  const { tasks, events } = await bootApp([Slow], { defaults: { retention: 'keepAll' } });
  const done = next(events, 'done');
  const { id } = await tasks.enqueue(Slow);
  expect(await done).toMatchObject([{ id, attempt: 2 }]);
  expect(await found(tasks, id)).toMatchObject({
    retries: 1,
    attempts: [{ outcome: 'timedOut' }, { outcome: 'done' }],
  });
});

it('is not disturbed by what a handler does after its timeout', async () => {
  const unhandled: unknown[] = [];
  const collect = (error: unknown) => unhandled.push(error);
  process.on('unhandledRejection', collect);
  onTestFinished(() => void process.off('unhandledRejection', collect));

  const late = { rejects: deferred(), resolves: deferred() };
  const ended = { rejects: deferred(), resolves: deferred() };
  const Slow = taskOf(
    'slow',
    async (how: 'rejects' | 'resolves') => {
      try {
        await late[how].promise;
      } finally {
        ended[how].resolve();
      }
    },
    { timeoutMs: 40, maxRetries: 0 },
  );
  const Work = taskOf('work', () => {});
  const { tasks, events } = await bootApp([Slow, Work]);
  const failed = next(events, 'failed', 2);
  const enqueued = await tasks.enqueueMany(Slow, ['rejects', 'resolves']);
  await failed;
  late.rejects.reject(new Error('much too late'));
  late.resolves.resolve();
  await Promise.all([ended.rejects.promise, ended.resolves.promise]);

  const done = next(events, 'done');
  await tasks.enqueue(Work);
  await done;
  for (const { id } of enqueued) {
    expect(await found(tasks, id)).toMatchObject({ state: 'failed', attempts: [{ outcome: 'timedOut' }] });
  }
  expect(unhandled).toEqual([]);
});

it('lets the siblings of a handler that never settles go on', async () => {
  const Stuck = taskOf('stuck', forever);
  const Work = taskOf('work', () => {});
  const { tasks, events, pool } = await bootApp([Stuck, Work], {
    queues: [{ name: 'default', concurrency: 2 }],
    shutdownGraceMs: 0,
  });
  const started = next(events, 'started');
  await tasks.enqueue(Stuck);
  await started;
  const done = next(events, 'done', 50);
  await tasks.enqueueMany(Work, Array.from({ length: 50 }));
  await done;
  expect(pool.status().queues).toMatchObject([{ running: 1 }]);
});

it('records the timeout though a listener of the signal ends the handler at once', async () => {
  const Polite = taskOf(
    'polite',
    async (_payload, { signal }) => {
      throw await abortReason(signal);
    },
    { timeoutMs: 40, maxRetries: 0 },
  );
  const { tasks, events } = await bootApp([Polite]);
  const failed = next(events, 'failed');
  const { id } = await tasks.enqueue(Polite);
  await failed;
  expect(await found(tasks, id)).toMatchObject({ attempts: [{ outcome: 'timedOut' }] });
});

it('shows an aborted signal to a handler that asks for it only after its timeout', async () => {
  const late = deferred();
  const reason = deferred<unknown>();
  const Slow = taskOf(
    'slow',
    async (_payload, task) => {
      await late.promise;
      reason.resolve(task.signal.reason);
    },
    { timeoutMs: 40, maxRetries: 0 },
  );
  const { tasks, events } = await bootApp([Slow]);
  const failed = next(events, 'failed');
  await tasks.enqueue(Slow);
  await failed;
  late.resolve();
  expect(await reason.promise).toBeInstanceOf(TaskTimeoutError);
});
