import { randomUUID } from 'node:crypto';
import { Backoff, TaskCancelledError } from 'nestjs-backie';
import { expect, it } from 'vitest';
import { bootApp, freshSchema, next, sql, type TestApp } from '../../support/app.js';
import { abortReason, deferred, forever, found, taskOf } from '../../support/tasks.js';

const fast = { defaults: { pollIntervalMs: 20 } };

/** A running task, and the reason with which its signal aborts. */
async function bootRunning(options: Parameters<typeof bootApp>[1] = {}) {
  const reason = deferred<unknown>();
  const Hanging = taskOf('hanging', (_payload, { signal }) => {
    void abortReason(signal).then(reason.resolve);
    return forever();
  });
  const booted = await bootApp([Hanging], { shutdownGraceMs: 0, ...options });
  const started = next(booted.events, 'started');
  const { id } = await booted.tasks.enqueue(Hanging);
  await started;
  return { ...booted, id, reason: reason.promise };
}

it('ends a ready task at once: no process ever starts it', async () => {
  let runs = 0;
  const Work = taskOf('work', () => runs++);
  const { tasks, events, pool } = await bootApp([Work], { workers: false, ...fast });
  const { id } = await tasks.enqueue(Work);
  const cancelled = next(events, 'cancelled');
  expect(await tasks.cancel(id)).toBe(true);
  expect(await cancelled).toMatchObject([{ id, name: 'work', queue: 'default' }]);
  const task = await found(tasks, id);
  expect(task).toMatchObject({ state: 'cancelled', attempt: 0, attempts: [] });
  expect(task.finishedAt).toBeInstanceOf(Date);
  await pool.start();
  const done = next(events, 'done');
  const other = await tasks.enqueue(Work);
  expect(await done).toMatchObject([{ id: other.id }]);
  expect(runs).toBe(1);
});

it('ends a task that waits for its retry', async () => {
  const Work = taskOf('work', () => Promise.reject(new Error('no')), { backoff: Backoff.fixed(60_000) });
  const { tasks, events } = await bootApp([Work]);
  const retrying = next(events, 'retrying');
  const { id } = await tasks.enqueue(Work);
  await retrying;
  expect(await tasks.cancel(id)).toBe(true);
  expect(await found(tasks, id)).toMatchObject({ state: 'cancelled', attempt: 1, attempts: [{ outcome: 'failed' }] });
});

it('keeps no cancelled task on a queue that keeps none', async () => {
  const { tasks, id, events } = await bootRunning({ defaults: { retention: 'removeAll' } });
  const waiting = await tasks.enqueue('hanging', null, { delayMs: 60_000 });
  const cancelled = next(events, 'cancelled', 1, (event) => event.id === id);
  expect(await tasks.cancel(waiting.id)).toBe(true);
  expect(await tasks.cancel(id)).toBe(true);
  await cancelled;
  expect(await tasks.find(waiting.id)).toBeNull();
  expect(await tasks.find(id)).toBeNull();
});

it("aborts a running task's signal, and the task is over though its handler never settles", async () => {
  const { tasks, events, pool, id, reason } = await bootRunning();
  const cancelled = next(events, 'cancelled');
  expect(await tasks.cancel(id)).toBe(true);
  expect(await cancelled).toMatchObject([{ id, name: 'hanging', queue: 'default' }]);
  expect(await reason).toBeInstanceOf(TaskCancelledError);
  expect(await found(tasks, id)).toMatchObject({
    state: 'cancelled',
    attempt: 1,
    attempts: [{ number: 1, outcome: 'cancelled', error: { name: 'TaskCancelledError' } }],
  });
  expect(pool.status().queues).toMatchObject([{ running: 0 }]);
});

it('aborts a task that runs in another application', async () => {
  const { id, reason, events, schema, tasks } = await bootRunning();
  const other = await bootApp([], { schema, workers: false });
  const cancelled = next(events, 'cancelled');
  expect(await other.tasks.cancel(id)).toBe(true);
  expect(await reason).toBeInstanceOf(TaskCancelledError);
  await cancelled;
  expect(await found(tasks, id)).toMatchObject({ state: 'cancelled' });
});

it('finds a wish to cancel by looking, when its notification was lost', async () => {
  const { id, reason, tasks, schema, events } = await bootRunning();
  const cancelled = next(events, 'cancelled');
  // The notification is part of the statement, so a wish without one has to be written by hand.
  await sql(`UPDATE "${schema}"."task" SET "cancel_keep_ms" = 'Infinity' WHERE "id" = $1`, [id]);
  expect(await reason).toBeInstanceOf(TaskCancelledError);
  await cancelled;
  expect(await found(tasks, id)).toMatchObject({ state: 'cancelled' });
});

it('calls a task cancelled, and does not retry it, when its handler fails because of the abort', async () => {
  const Work = taskOf('work', async (_payload, { signal }) => {
    throw await abortReason(signal);
  });
  const { tasks, events } = await bootApp([Work]);
  const started = next(events, 'started');
  const { id } = await tasks.enqueue(Work);
  await started;
  const cancelled = next(events, 'cancelled');
  await tasks.cancel(id);
  await cancelled;
  expect(await found(tasks, id)).toMatchObject({ state: 'cancelled', attempts: [{ outcome: 'cancelled' }] });
});

it('cancels its own task from inside the handler', async () => {
  let booted: TestApp | undefined;
  const Work = taskOf('work', async (_payload, { id, signal }) => {
    await booted!.tasks.cancel(id);
    throw await abortReason(signal);
  });
  booted = await bootApp([Work]);
  const cancelled = next(booted.events, 'cancelled');
  await booted.tasks.enqueue(Work);
  await cancelled;
});

it('says false of a task that is not live, and of what is no id at all', async () => {
  const Work = taskOf('work', () => {});
  const { tasks, events } = await bootApp([Work], { defaults: { retention: 'keepAll' } });
  const done = next(events, 'done');
  const { id } = await tasks.enqueue(Work);
  await done;
  expect(await tasks.cancel(id)).toBe(false);
  expect(await found(tasks, id)).toMatchObject({ state: 'done' });
  expect(await tasks.cancel(randomUUID())).toBe(false);
  expect(await tasks.cancel("'; DROP TABLE task; --")).toBe(false);
});

it('lets many applications cancel one task at once: it ends once', async () => {
  const schema = freshSchema();
  const { id, reason, events } = await bootRunning({ schema });
  const others = await Promise.all(Array.from({ length: 3 }, () => bootApp([], { schema, workers: false })));
  const cancelled = next(events, 'cancelled');
  const answers = await Promise.all(others.map(({ tasks }) => tasks.cancel(id)));
  expect(answers).toContain(true);
  await reason;
  await cancelled;
  expect(await others[0].tasks.counts()).toMatchObject({ cancelled: 1, running: 0, ready: 0 });
});
