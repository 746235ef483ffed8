import { Backoff, type CurrentTask, type RetentionMode } from 'nestjs-backie';
import { describe, expect, it } from 'vitest';
import { bootApp, next } from '../../support/app.js';
import { type Deferred, deferred, found, hasten, taskOf } from '../../support/tasks.js';

/** A task each of whose attempts waits for the test to settle it. */
function steered() {
  const attempts: Deferred<void>[] = [];
  let entered = deferred<{ current: CurrentTask; attempt: Deferred<void> }>();
  const Work = taskOf(
    'work',
    (_payload, current) => {
      const attempt = deferred();
      attempts.push(attempt);
      entered.resolve({ current, attempt });
      return attempt.promise;
    },
    { maxRetries: 1, backoff: Backoff.fixed(60_000) },
  );
  const enter = () => {
    entered = deferred();
    return entered.promise;
  };
  return { Work, enter };
}

describe('the life of a task, as find() shows it', () => {
  it('ready → running → ready → running → done', async () => {
    const { Work, enter } = steered();
    const booted = await bootApp([Work], { workers: false, defaults: { retention: 'keepAll' } });
    const { tasks, events, pool } = booted;
    const { id } = await tasks.enqueue(Work, { user: 7 }, { priority: 3, timeoutMs: 50_000 });
    const asEnqueued = { id, name: 'work', queue: 'default', payload: { user: 7 }, priority: 3, timeoutMs: 50_000 };
    expect(await found(tasks, id)).toMatchObject({
      ...asEnqueued,
      state: 'ready',
      attempt: 0,
      retries: 0,
      claimSeq: 0,
      workerId: null,
      startedAt: null,
      finishedAt: null,
      attempts: [],
    });

    let running = enter();
    await pool.start();
    const first = await running;
    const { workerId } = pool.status();
    const beginning = await found(tasks, id);
    expect(beginning).toMatchObject({ ...asEnqueued, state: 'running', attempt: 1, claimSeq: 1, workerId });
    expect(beginning.startedAt).toBeInstanceOf(Date);
    expect(beginning.createdAt).toEqual(first.current.createdAt);
    expect(beginning.scheduledAt).toEqual(first.current.scheduledAt);

    const retrying = next(events, 'retrying');
    first.attempt.reject(new RangeError('too far'));
    await retrying;
    const attempts = [{ number: 1, outcome: 'failed', workerId, error: { name: 'RangeError', message: 'too far' } }];
    const waiting = await found(tasks, id);
    expect(waiting).toMatchObject({ state: 'ready', attempt: 1, retries: 1, workerId: null, attempts });
    expect(waiting.attempts[0].error?.stack).toContain('walk.spec');

    running = enter();
    await hasten(booted, id);
    const second = await running;
    expect(await found(tasks, id)).toMatchObject({ state: 'running', attempt: 2, retries: 1, claimSeq: 2, attempts });

    const done = next(events, 'done');
    second.attempt.resolve();
    await done;
    const ended = await found(tasks, id);
    expect(ended).toMatchObject({ ...asEnqueued, state: 'done', attempt: 2, retries: 1, workerId: null });
    expect(ended.attempts).toMatchObject([...attempts, { number: 2, outcome: 'done', workerId }]);
    expect(ended.finishedAt!.getTime()).toBeGreaterThanOrEqual(ended.startedAt!.getTime());
    expect(ended.createdAt).toEqual(beginning.createdAt);
  });

  it('ready → running → failed → ready → running → cancelled', async () => {
    const { Work, enter } = steered();
    const { tasks, events } = await bootApp([Work]);
    let running = enter();
    const { id } = await tasks.enqueue(Work, null, { maxRetries: 0 });
    const failed = next(events, 'failed');
    (await running).attempt.reject('no');
    await failed;
    expect(await found(tasks, id)).toMatchObject({ state: 'failed', attempt: 1, retries: 0, maxRetries: 0 });

    running = enter();
    expect(await tasks.retry(id)).toBe(true);
    await running;
    expect(await found(tasks, id)).toMatchObject({ state: 'running', attempt: 2, retries: 0, claimSeq: 2 });

    const cancelled = next(events, 'cancelled');
    expect(await tasks.cancel(id)).toBe(true);
    await cancelled;
    expect(await found(tasks, id)).toMatchObject({
      state: 'cancelled',
      attempts: [
        { number: 1, outcome: 'failed', error: { name: 'NonError', message: 'no' } },
        { number: 2, outcome: 'cancelled', error: { name: 'TaskCancelledError' } },
      ],
    });
  });
});

describe('retention', () => {
  const cases: [RetentionMode | undefined, kept: { done: number; failed: number; cancelled: number }][] = [
    ['keepAll', { done: 1, failed: 1, cancelled: 2 }],
    ['removeAll', { done: 0, failed: 0, cancelled: 0 }],
    ['removeDone', { done: 0, failed: 1, cancelled: 2 }],
    [undefined, { done: 0, failed: 1, cancelled: 2 }],
  ];
  it.each(cases)('%s leaves %o', async (retention, kept) => {
    const Work = taskOf(
      'work',
      (how: string) => {
        if (how === 'fail') throw new Error(how);
        return how === 'hang' ? deferred().promise : undefined;
      },
      { queue: 'mail', maxRetries: 0 },
    );
    const { tasks, events } = await bootApp([Work], { queues: [{ name: 'mail', retention }] });
    const ended = Promise.all([next(events, 'done'), next(events, 'failed'), next(events, 'cancelled', 2)]);
    const started = next(events, 'started', 3);
    const [, , hanging] = await tasks.enqueueMany(Work, ['return', 'fail', 'hang']);
    const waiting = await tasks.enqueue(Work, 'return', { delayMs: 60_000 });
    await started;
    expect(await tasks.cancel(hanging.id)).toBe(true);
    expect(await tasks.cancel(waiting.id)).toBe(true);
    await ended;
    expect(await tasks.counts('mail')).toEqual({ ready: 0, running: 0, ...kept });
  });

  it('of another queue than the declared one counts when enqueue names it', async () => {
    const Work = taskOf('work', () => {}, { queue: 'mail' });
    const { tasks, events } = await bootApp([Work], {
      queues: [
        { name: 'mail', retention: 'removeAll' },
        { name: 'audited', retention: 'keepAll' },
      ],
    });
    const done = next(events, 'done', 2);
    await tasks.enqueue(Work);
    await tasks.enqueue(Work, null, { queue: 'audited' });
    await done;
    expect((await tasks.list({ state: 'done' })).tasks).toMatchObject([{ name: 'work', queue: 'audited' }]);
  });
});
