import { Backoff } from 'nestjs-backie';
import { Client } from 'pg';
import { expect, inject, it } from 'vitest';
import { startWorker } from '../../fixtures/worker-process.js';
import { bootApp, freshSchema, next, sql, whenFinished } from '../../support/app.js';
import { deferred, found, hasten, taskOf } from '../../support/tasks.js';

const quick = { leaseMs: 1_000, heartbeatMs: 100 };

it('ends a task as cancelled that has not started in time, and tells why by its event', async () => {
  const runs: unknown[] = [];
  const Work = taskOf('work', (payload) => void runs.push(payload), { expiresInMs: 200 });
  const { tasks, events } = await bootApp([Work], quick);
  await tasks.pause('default');
  const cancelled = next(events, 'cancelled');
  const { id } = await tasks.enqueue(Work, 'expires');
  expect(await cancelled).toEqual([{ id, name: 'work', queue: 'default', reason: 'expired' }]);
  const task = await found(tasks, id);
  expect(task).toMatchObject({ state: 'cancelled', reason: 'expired', attempt: 0, attempts: [] });
  expect(task.finishedAt!.getTime()).toBeGreaterThanOrEqual(task.expiresAt!.getTime());
  const done = next(events, 'done');
  await tasks.resume('default');
  await tasks.enqueue(Work, 'in time', { expiresInMs: 60_000 });
  await done;
  expect(runs).toEqual(['in time']);

  // Whoever wants it after all.
  const ran = next(events, 'done');
  expect(await tasks.retry(id)).toBe(true);
  await ran;
  expect(runs).toEqual(['in time', 'expires']);
});

it('retries a task that has started in time, though its expiry has passed since', async () => {
  const Flaky = taskOf(
    'flaky',
    (_, { attempt }) => {
      if (attempt === 1) throw new Error('not yet');
    },
    { expiresInMs: 60_000, backoff: Backoff.fixed(600_000) },
  );
  const app = await bootApp([Flaky], quick);
  const { tasks, events, schema } = app;
  const retrying = next(events, 'retrying');
  const { id } = await tasks.enqueue(Flaky, null);
  await retrying;
  await sql(`UPDATE "${schema}".task SET expires_at = now() - interval '1 hour' WHERE id = $1`, [id]);
  const done = next(events, 'done');
  await hasten(app, id);
  expect(await done).toMatchObject([{ id, attempt: 2 }]);
});

it('forgets an expired task whose queue keeps no cancelled ones', async () => {
  const { tasks, events } = await bootApp([taskOf('work', () => {})], {
    ...quick,
    queues: [{ name: 'default', retention: 'removeAll' }],
  });
  await tasks.pause('default');
  const cancelled = next(events, 'cancelled');
  const { id } = await tasks.enqueue('work', null, { expiresInMs: 50 });
  await cancelled;
  expect(await tasks.find(id)).toBeNull();
});

it('lets one of two processes end what has expired, and neither run it', async () => {
  const schema = freshSchema();
  const { tasks } = await bootApp([], { schema, workers: false });
  await tasks.pause('default');
  const workers = await Promise.all([startWorker({ schema, ...quick }), startWorker({ schema, ...quick })]);
  const cancelled: string[] = [];
  const started: string[] = [];
  const all = deferred();
  for (const worker of workers) {
    worker.messages('started').subscribe((message) => started.push((message as { id: string }).id));
    worker.messages('cancelled').subscribe((message) => {
      const { id, reason } = message as { id: string; reason?: string };
      expect(reason).toBe('expired');
      if (cancelled.push(id) === 100) all.resolve();
    });
  }
  const expiring = await tasks.enqueueMany('quick', Array.from({ length: 100 }), { expiresInMs: 500 });
  await all.promise;
  expect(cancelled.toSorted()).toEqual(expiring.map(({ id }) => id).toSorted());

  const done = Promise.race(workers.map((worker) => worker.next('done')));
  const { id } = await tasks.enqueue('quick');
  await tasks.resume('default');
  await done;
  expect(started).toEqual([id]);
  expect(cancelled).toHaveLength(100);
  expect(await tasks.counts()).toMatchObject({ cancelled: 100, ready: 0 });
});

it('ends what has expired when the process that was about to end it is killed', async () => {
  const schema = freshSchema();
  const { tasks } = await bootApp([], { schema, workers: false });
  await tasks.pause('default');
  const doomed = await startWorker({ schema, ...quick });
  const { id } = await tasks.enqueue('quick', null, { expiresInMs: 60_000 });
  // The doomed process is in the middle of its statement: its backend has locked the task and goes no further.
  const backend = new Client({ connectionString: inject('databaseUrl') });
  await backend.connect();
  whenFinished(() => backend.end().catch(() => {}));
  await backend.query('BEGIN');
  await backend.query(`SELECT FROM "${schema}".task WHERE id = $1 FOR UPDATE`, [id]);
  await doomed.kill();

  const other = await startWorker({ schema, ...quick });
  const early: unknown[] = [];
  const listening = other.messages('cancelled').subscribe((message) => early.push(message));
  await backend.query(`UPDATE "${schema}".task SET expires_at = now() WHERE id = $1`, [id]);
  const done = other.next('done');
  await tasks.resume('default');
  await tasks.enqueue('quick', null, { priority: 1 });
  await done;
  expect(early).toEqual([]);
  listening.unsubscribe();
  await tasks.pause('default');
  const cancelled = other.next('cancelled');
  await backend.query('COMMIT');
  expect(await cancelled).toEqual([{ kind: 'cancelled', id, reason: 'expired' }]);
  expect(await found(tasks, id)).toMatchObject({ state: 'cancelled', reason: 'expired', claimSeq: 0 });
});

it('is judged by the clock of the database, not by that of a process', async () => {
  const schema = freshSchema();
  const { tasks } = await bootApp([], { schema, workers: false });
  const worker = await startWorker({ schema, ...quick }, '3_600_000');
  const done = worker.next('done');
  const id = await worker.enqueue('quick', null, { expiresInMs: 60_000 });
  expect(await done).toMatchObject([{ id }]);
  await tasks.pause('default');
  const other = await worker.enqueue('quick', null, { expiresInMs: 60_000 });
  const { createdAt, expiresAt } = await found(tasks, other);
  expect(expiresAt!.getTime() - createdAt.getTime()).toBe(60_000);
  const cancelled = worker.next('cancelled');
  await sql(`UPDATE "${schema}".task SET expires_at = now() WHERE id = $1`, [other]);
  expect(await cancelled).toMatchObject([{ id: other }]);
});
