import { Backoff, LeaseLostError, TaskStore } from 'nestjs-backie';
import { expect, it, vi } from 'vitest';
import { bootApp, freshSchema, next, runTask, sql } from '../../support/app.js';
import { abortReason, deferred, forever, found, taskOf, until } from '../../support/tasks.js';

const short = { leaseMs: 2_000, heartbeatMs: 50 };
const keepAll = { retention: 'keepAll' as const };

/** What a rescuer does to a worker that it takes for dead; here, without its tasks. */
async function bury(schema: string): Promise<void> {
  await sql(`DELETE FROM "${schema}".worker`);
}

it('takes the tasks from a worker whose row is gone, tells it at once, and records nothing that it still does', async () => {
  const attempts = [1, 2].map(() => ({ gate: deferred(), reason: deferred<unknown>(), returned: deferred() }));
  const Work = taskOf('work', async (_payload, { attempt, signal }) => {
    const { gate, reason, returned } = attempts[attempt - 1];
    void abortReason(signal).then(reason.resolve);
    await gate.promise;
    returned.resolve();
  });
  const terms = { leaseMs: 20_000, heartbeatMs: 250 };
  const { tasks, events, pool, schema } = await bootApp([Work], { ...terms, defaults: keepAll });
  const started = next(events, 'started', 2);
  const startedOnce = next(events, 'started');
  const lost = next(events, 'lost');
  const { id } = await tasks.enqueue(Work);
  await startedOnce;
  const before = pool.status().workerId;
  await bury(schema);
  const buriedAt = performance.now();
  expect(await attempts[0].reason.promise).toBeInstanceOf(LeaseLostError);
  // By a renewal that found nothing, long before the lease would have ended by the clock here.
  expect(performance.now() - buriedAt).toBeLessThan(10_000);
  expect(await lost).toMatchObject([{ id, name: 'work', attempt: 1 }]);

  // The pool comes back as another worker, finds the orphan, and runs it while the first attempt still goes on.
  expect(await started).toMatchObject([{ attempt: 1 }, { id, attempt: 2 }]);
  const after = pool.status().workerId;
  expect(after).not.toBe(before);
  const done = next(events, 'done');
  attempts[0].gate.resolve();
  await attempts[0].returned.promise;
  expect(await found(tasks, id)).toMatchObject({ state: 'running', claimSeq: 2, workerId: after, crashes: 1 });

  attempts[1].gate.resolve();
  expect(await done).toMatchObject([{ id, attempt: 2 }]);
  expect(await found(tasks, id)).toMatchObject({
    state: 'done',
    retries: 0,
    attempts: [
      { number: 1, outcome: 'crashed', workerId: before },
      { number: 2, outcome: 'done', workerId: after },
    ],
  });
  expect(await sql(`SELECT id FROM "${schema}".worker`)).toEqual([{ id: after }]);
});

it.each<[string, () => unknown]>([
  ['returns', () => undefined],
  ['throws', () => Promise.reject(new Error('too late'))],
  ['times out', forever],
])('records nothing of an attempt that %s after its worker was buried', async (_how, end) => {
  const gate = deferred();
  const Work = taskOf(
    'work',
    async () => {
      await gate.promise;
      return end();
    },
    { maxRetries: 0, timeoutMs: 600, backoff: Backoff.none() },
  );
  const schema = freshSchema();
  // So slow a heartbeat that only its own settlement can tell the worker; nobody else rescues.
  const { tasks, events, app } = await bootApp([Work], {
    schema,
    leaseMs: 60_000,
    heartbeatMs: 30_000,
    defaults: keepAll,
  });
  const started = next(events, 'started');
  const { id } = await tasks.enqueue(Work);
  await started;
  await bury(schema);
  await sql(`UPDATE "${schema}".task SET worker_id = NULL`);
  await sql(`UPDATE "${schema}".queue SET paused_at = now()`);
  await sql(`INSERT INTO "${schema}".queue VALUES ('default', now()) ON CONFLICT DO NOTHING`);
  const lost = next(events, 'lost');
  gate.resolve();
  expect(await lost).toMatchObject([{ id, attempt: 1 }]);
  expect(await found(tasks, id)).toMatchObject({ state: 'ready', retries: 0, attempts: [], finishedAt: null });
  await app.close();
});

it('goes on working under a new worker, however often the lease is lost', async () => {
  const Work = taskOf('work', () => {});
  const booted = await bootApp([Work], { ...short, defaults: { pollIntervalMs: 20 } });
  const seen = new Set([booted.pool.status().workerId]);
  for (let round = 0; round < 3; round++) {
    const before = booted.pool.status().workerId;
    await bury(booted.schema);
    await until(
      () => sql<{ id: string }>(`SELECT id FROM "${booted.schema}".worker`),
      (rows) => rows.length === 1 && rows[0].id !== before && rows[0].id === booted.pool.status().workerId,
    );
    await runTask(booted, Work);
    seen.add(booted.pool.status().workerId);
  }
  expect(seen.size).toBe(4);
});

it('looks for work at once under its new lease, without waiting for a poll', async () => {
  const Work = taskOf('work', () => {});
  const defaults = { pollIntervalMs: 3_600_000 };
  const { app, pool, schema } = await bootApp([Work], { ...short, defaults });
  const before = pool.status().workerId;
  const looked = deferred<string>();
  const store = app.get(TaskStore);
  const claim = store.claim.bind(store);
  vi.spyOn(store, 'claim').mockImplementation((request) => {
    if (request.workerId !== before) looked.resolve(request.workerId);
    return claim(request);
  });
  await bury(schema);
  expect(await looked.promise).toBe(pool.status().workerId);
});

it('fails a task as quarantined when it was held by maxCrashes workers in turn when they died', async () => {
  let runs = 0;
  const Work = taskOf('work', () => {
    runs++;
    return forever();
  });
  const { tasks, events, schema } = await bootApp([Work], { ...short, maxCrashes: 3, shutdownGraceMs: 0 });
  const rescued = next(events, 'rescued', 3);
  let started = next(events, 'started');
  const { id } = await tasks.enqueue(Work);
  for (let crash = 1; crash <= 3; crash++) {
    await started;
    started = next(events, 'started');
    started.catch(() => {});
    await bury(schema);
  }
  expect(await rescued).toMatchObject([
    { id, crashes: 1, quarantined: false },
    { id, crashes: 2, quarantined: false },
    { id, crashes: 3, quarantined: true },
  ]);
  expect(runs).toBe(3);
  const task = await found(tasks, id);
  expect(task).toMatchObject({ state: 'failed', crashes: 3, retries: 0, attempt: 3 });
  expect(task.attempts.map(({ outcome }) => outcome)).toEqual(['crashed', 'crashed', 'crashed']);
  expect(task.attempts.at(-1)?.error).toMatchObject({ name: 'QuarantinedError' });
});

it('leaves the tasks of a worker alone whose lease is alive, whoever looks', async () => {
  const gate = deferred();
  const Work = taskOf('work', () => gate.promise);
  const one = await bootApp([Work], { ...short, defaults: keepAll });
  const started = next(one.events, 'started');
  const { id } = await one.tasks.enqueue(Work);
  await started;
  const two = await bootApp([Work], { ...short, schema: one.schema });
  // Longer than the lease: whoever let it lapse would lose the task.
  await until(
    () => sql<{ late: boolean }>(`SELECT now() > started_at + interval '1.5 s' AS late FROM "${one.schema}".task`),
    ([row]) => row.late,
  );
  const done = next(one.events, 'done');
  gate.resolve();
  await done;
  expect(await found(two.tasks, id)).toMatchObject({
    state: 'done',
    claimSeq: 1,
    crashes: 0,
    attempts: [{ number: 1, outcome: 'done' }],
  });
});
