import { InvalidOptionsError, TaskCancelledError } from 'nestjs-backie';
import { describe, expect, it } from 'vitest';
import { startWorker } from '../../fixtures/worker-process.js';
import { bootApp, next } from '../../support/app.js';
import { found, hasten, taskOf, until } from '../../support/tasks.js';

const hourMs = 3_600_000;

describe('a handler that snoozes', () => {
  it('has its task run again later, with all its retries, as often as it likes', async () => {
    const seen: object[] = [];
    const Work = taskOf(
      'work',
      (_payload, task) => {
        seen.push({ attempt: task.attempt, retries: task.retries });
        if (seen.length < 4) task.snooze(hourMs);
      },
      { maxRetries: 0 },
    );
    const app = await bootApp([Work], { defaults: { retention: 'keepAll' } });
    const { tasks, events } = app;
    const done = next(events, 'done');
    let snoozed = next(events, 'snoozed');
    const { id } = await tasks.enqueue(Work);
    for (let attempt = 1; attempt < 4; attempt++) {
      expect(await snoozed).toMatchObject([{ id, name: 'work', queue: 'default', attempt, delayMs: hourMs }]);
      const waiting = await found(tasks, id);
      expect(waiting).toMatchObject({ state: 'ready', attempt, retries: 0 });
      expect(waiting.attempts.map(({ outcome }) => outcome)).toEqual(Array(attempt).fill('snoozed'));
      expect(waiting.scheduledAt.getTime() - Date.now()).toBeGreaterThan(hourMs / 2);
      snoozed = next(events, 'snoozed');
      await hasten(app, id);
    }
    await done;
    expect(seen).toEqual([1, 2, 3, 4].map((attempt) => ({ attempt, retries: 0 })));
    expect(await found(tasks, id)).toMatchObject({ state: 'done', retries: 0 });
  });

  it('has failed all the same when it throws afterwards', async () => {
    const Work = taskOf(
      'work',
      (_payload, task) => {
        task.snooze(hourMs);
        throw new Error('after all');
      },
      { maxRetries: 0 },
    );
    const { tasks, events } = await bootApp([Work]);
    const failed = next(events, 'failed');
    const { id } = await tasks.enqueue(Work);
    await failed;
    expect(await found(tasks, id)).toMatchObject({ state: 'failed', attempts: [{ error: { message: 'after all' } }] });
  });

  it.each([-1, Number.NaN, Infinity, 11 * 365 * 24 * hourMs, '60000' as unknown as number])(
    'is told by an error that %s is no time to wait, and goes on',
    async (ms) => {
      const thrown: unknown[] = [];
      const Work = taskOf('work', (_payload, task) => {
        try {
          task.snooze(ms);
        } catch (error) {
          thrown.push(error);
        }
      });
      const { tasks, events } = await bootApp([Work]);
      const done = next(events, 'done');
      await tasks.enqueue(Work);
      await done;
      expect(thrown).toEqual([expect.any(InvalidOptionsError)]);
    },
  );

  it('is told why by an error when its attempt is over, and changes nothing', async () => {
    let late: (() => void) | undefined;
    const Work = taskOf('work', (_payload, task) => {
      late = () => task.snooze(hourMs);
      return new Promise<void>(() => {});
    });
    const { tasks, events } = await bootApp([Work]);
    const started = next(events, 'started');
    const cancelled = next(events, 'cancelled');
    const { id } = await tasks.enqueue(Work);
    await started;
    await tasks.cancel(id);
    await cancelled;
    expect(late).toThrow(TaskCancelledError);
    expect(await found(tasks, id)).toMatchObject({ state: 'cancelled' });
  });
});

it('lets another process take the next attempt when the one that snoozed is killed, with no retry used up', async () => {
  const app = await bootApp([], { workers: false });
  const { tasks, schema } = app;
  const workers = await Promise.all([startWorker({ schema }), startWorker({ schema })]);
  const ran = Promise.race(workers.map((worker) => worker.next('started').then(() => worker)));
  const { id } = await tasks.enqueue('snoozing', 'later');
  await until(
    () => tasks.find(id),
    (task) => task?.state === 'ready' && task.attempt === 1,
  );
  const first = await ran;
  const other = workers.find((worker) => worker !== first)!;
  const [noted, started] = [other.next('noted'), other.next('started')];
  await first.kill();
  await hasten(app, id);
  expect(await started).toMatchObject([{ id, attempt: 2 }]);
  expect(await noted).toMatchObject([{ id, payload: 'later' }]);
});
