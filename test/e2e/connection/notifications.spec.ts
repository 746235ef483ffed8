import { TaskStore } from 'nestjs-backie';
import pg from 'pg';
import { expect, inject, it, vi } from 'vitest';
import { bootApp, freshSchema, next, sql, whenFinished } from '../../support/app.js';
import { type Backends, backends } from '../../support/backends.js';
import { abortReason, deferred, found, taskOf, until } from '../../support/tasks.js';

const never = { defaults: { pollIntervalMs: 3_600_000 } };

/** The channel on which an application listens. */
async function channelOf({ connection }: Backends): Promise<string> {
  const [{ query }] = await sql<{ query: string }>(
    `SELECT query FROM pg_stat_activity WHERE application_name = $1 AND query LIKE 'LISTEN%'`,
    [connection.applicationName],
  );
  return /"(.+)"/.exec(query)![1];
}

it('finds tasks by notification alone: enqueued, retried, given back by other applications', async () => {
  const Work = taskOf('work', () => {});
  const worker = await bootApp([Work], never);
  const other = await bootApp([], { schema: worker.schema, workers: false });
  const done = next(worker.events, 'done', 3);
  await other.tasks.enqueue('work');
  await other.tasks.enqueueMany('work', [1, 2]);
  await done;
});

it('finds tasks by polling when its listening connection is gone, and hears again once it is back', async () => {
  const Work = taskOf('work', () => {});
  const own = backends();
  const worker = await bootApp([Work], { connection: own.connection, defaults: { pollIntervalMs: 20 } });
  const other = await bootApp([], { schema: worker.schema, workers: false });
  const before = await own.listener();
  expect(await own.terminate('LISTEN%')).toBe(1);
  const polled = next(worker.events, 'done', 3);
  for (let i = 0; i < 3; i++) await other.tasks.enqueue('work', i);
  await polled;
  const after = await until(own.listener, (pid) => pid !== undefined && pid !== before);
  expect(after).not.toBe(before);
});

it('hears again after its listening connection broke, and looks for what it missed meanwhile', async () => {
  const Work = taskOf('work', () => {});
  const own = backends();
  const worker = await bootApp([Work], { connection: own.connection, ...never });
  const other = await bootApp([], { schema: worker.schema, workers: false });
  const missed = next(worker.events, 'done');
  await own.terminate('LISTEN%');
  await other.tasks.enqueue('work');
  await missed;
  await until(own.listener, (pid) => pid !== undefined);
  const heard = next(worker.events, 'done');
  await other.tasks.enqueue('work');
  await heard;
});

it('works by polling when LISTEN fails', async () => {
  const client = pg.Client.prototype as unknown as { query(...args: unknown[]): unknown };
  const { query } = client;
  const refused = deferred();
  const spy = vi.spyOn(client, 'query').mockImplementation(function (this: unknown, ...args) {
    if (typeof args[0] !== 'string' || !args[0].startsWith('LISTEN')) return Reflect.apply(query, this, args);
    refused.resolve();
    return Promise.reject(new Error('LISTEN is not supported here'));
  });
  try {
    const Work = taskOf('work', () => {});
    const worker = await bootApp([Work], { defaults: { pollIntervalMs: 20 } });
    await refused.promise;
    const other = await bootApp([], { schema: worker.schema, workers: false });
    const done = next(worker.events, 'done', 2);
    await other.tasks.enqueue('work');
    await worker.tasks.enqueue('work');
    await done;
  } finally {
    spy.mockRestore();
  }
});

it('ignores notifications that make no sense', async () => {
  const gate = deferred();
  const Work = taskOf('work', (wait: boolean) => (wait ? gate.promise : undefined));
  const own = backends();
  const worker = await bootApp([Work], { connection: own.connection, ...never });
  const started = next(worker.events, 'started');
  const { id } = await worker.tasks.enqueue(Work, true);
  await started;
  const channel = await channelOf(own);
  const payloads = [
    '',
    'w',
    'wno such queue',
    'c',
    'cnot-an-id',
    `c${'0'.repeat(36)}`,
    'b',
    'bnobody',
    'x',
    '{"a":1}',
    'w'.repeat(7_999),
    'ẅ💥',
    "c' OR 1=1",
  ];
  for (const payload of payloads) await sql('SELECT pg_notify($1, $2)', [channel, payload]);
  const done = next(worker.events, 'done');
  const other = await bootApp([], { schema: worker.schema, workers: false });
  await other.tasks.enqueue('work', false);
  await done;
  expect(await found(worker.tasks, id)).toMatchObject({ state: 'running', claimSeq: 1 });
  const last = next(worker.events, 'done');
  gate.resolve();
  expect(await last).toMatchObject([{ id, attempt: 1 }]);
});

it('does nothing to a task that runs again when what was told of its first attempt is told late', async () => {
  const gate = deferred();
  const aborted: number[] = [];
  const Work = taskOf('work', async (_payload, { attempt, signal }) => {
    signal.addEventListener('abort', () => aborted.push(attempt));
    await (attempt === 1 ? abortReason(signal) : gate.promise);
  });
  const Quick = taskOf('quick', () => {});
  const own = backends();
  const worker = await bootApp([Work, Quick], { connection: own.connection, ...never });
  const other = await bootApp([], { schema: worker.schema, workers: false });
  const { app, tasks, events } = worker;
  const channel = await channelOf(own);
  const ear = new pg.Client(inject('databaseUrl'));
  await ear.connect();
  whenFinished(() => ear.end());
  await ear.query(`LISTEN "${channel}"`);
  const told: string[] = [];
  ear.on('notification', ({ payload }) => told.push(payload!));

  const started = next(events, 'started');
  const cancelled = next(events, 'cancelled');
  const { id } = await other.tasks.enqueue('work');
  await started;
  await other.tasks.cancel(id);
  await cancelled;
  const startedAgain = next(events, 'started');
  expect(await other.tasks.retry(id)).toBe(true);
  expect(await startedAgain).toMatchObject([{ id, attempt: 2 }]);
  await until(
    () => ear.query('SELECT 1'),
    () => told.includes('odefault') && told.includes(`c${id}`),
  );

  const looks = vi.spyOn(app.get(TaskStore), 'holdings');
  for (const payload of told.slice()) await sql('SELECT pg_notify($1, $2)', [channel, payload]);
  // What is told now is heard after all that, and whoever has heard of a wish to cancel looks for it.
  const done = next(events, 'done');
  await other.tasks.enqueue('quick');
  await done;
  expect(looks).toHaveBeenCalled();
  await Promise.all(looks.mock.results.map(({ value }) => value as Promise<unknown>));
  expect(await found(tasks, id)).toMatchObject({ state: 'running', attempt: 2, claimSeq: 2 });
  expect(aborted).toEqual([1]);
  const last = next(events, 'done');
  gate.resolve();
  expect(await last).toMatchObject([{ id, attempt: 2 }]);
});

it('is not woken by another schema of the same database', async () => {
  const channels = await Promise.all(
    [freshSchema(), freshSchema()].map(async (schema) => {
      const own = backends(inject('databaseUrl'));
      await bootApp([taskOf('work', () => {})], { schema, connection: own.connection });
      return channelOf(own);
    }),
  );
  expect(channels[0]).not.toBe(channels[1]);
});

it('loses nothing when all its connections are terminated under load, again and again', async () => {
  const total = 600;
  const runs = new Map<number, number>();
  const Work = taskOf('work', async (n: number) => {
    await new Promise(setImmediate);
    runs.set(n, (runs.get(n) ?? 0) + 1);
  });
  const own = backends();
  const { tasks, events, schema } = await bootApp([Work], {
    connection: own.connection,
    queues: [{ name: 'default', retention: 'keepAll', pollIntervalMs: 50 }],
  });
  const ids: string[] = [];
  let terminated = 0;
  for (let round = 0; round < 6; round++) {
    const progress = next(events, 'done', 20);
    const numbers = Array.from({ length: total / 6 }, (_, i) => round * (total / 6) + i);
    // Half of them alone, half of them together, while the connections break.
    const [alone, together] = [numbers.slice(0, 50), numbers.slice(50)];
    const enqueued = Promise.all([
      tasks.enqueueMany(Work, together),
      ...alone.map(async (n) => [await tasks.enqueue(Work, n)]),
    ]);
    terminated += await own.terminate();
    ids.push(...(await enqueued).flat().map(({ id }) => id));
    await progress;
    terminated += await own.terminate();
  }
  expect(terminated).toBeGreaterThan(6);
  expect(new Set(ids).size).toBe(total);
  // Through another application: what this one asks right after a break may meet a connection that is gone.
  const other = await bootApp([], { schema, workers: false });
  await until(
    () => other.tasks.counts(),
    ({ done }) => done === total,
  );
  expect(await other.tasks.counts()).toEqual({ ready: 0, running: 0, done: total, failed: 0, cancelled: 0 });
  expect(runs.size).toBe(total);
}, 60_000);
