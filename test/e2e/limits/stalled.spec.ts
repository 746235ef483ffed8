import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { expect, inject, it, onTestFinished } from 'vitest';
import { bootApp, next, sql, whenFinished } from '../../support/app.js';
import { connected } from '../../support/own-server.js';
import { taskOf, until } from '../../support/tasks.js';

/** A worker that the test is itself, by a connection of its own. */
async function worker(schema: string) {
  const client = await connected(inject('databaseUrl'));
  const { rows } = await client.query<{ pid: number }>(
    `INSERT INTO "${schema}".worker (id, host, pid, version, queues, lease_until)
     VALUES ($1, 'here', pg_backend_pid(), '1', '[]', now() + interval '1 hour') RETURNING pid`,
    [randomUUID()],
  );
  const claim = (limit: number) =>
    client.query<{ id: string | null; in_ms: number | null }>(
      `SELECT r.* FROM "${schema}".worker w,
         LATERAL "${schema}".claim_limited(w.id, 'default', '{work}', $1, 5, false) r WHERE w.pid = pg_backend_pid()`,
      [limit],
    );
  return { client, claim, pid: rows[0].pid };
}

it('keeps no lock for a process that stops to read, however large the payloads are', { timeout: 30_000 }, async () => {
  const Work = taskOf('work', () => {});
  const { tasks, events, schema } = await bootApp([Work], { queues: [{ name: 'default', globalConcurrency: 50 }] });
  await tasks.pause('default');
  await tasks.enqueueMany(
    Work,
    Array.from({ length: 30 }, () => 'a'.repeat(1_000_000)),
  );
  const { client, claim, pid } = await worker(schema);
  const { stream } = (client as unknown as { connection: { stream: { pause(): void; resume(): void } } }).connection;
  // Nobody is told, so that nobody else claims.
  await sql(`UPDATE "${schema}".queue SET paused_at = NULL`);
  const claimed = claim(30);
  stream.pause();
  onTestFinished(() => stream.resume());
  await until(
    () => sql<{ state: string }>(`SELECT state FROM pg_stat_activity WHERE pid = $1`, [pid]),
    ([{ state }]) => state === 'idle',
  );
  const done = next(events, 'done');
  const { id } = await tasks.enqueue(Work, 'b', { priority: 10 });
  expect(await done).toMatchObject([{ id }]);
  stream.resume();
  expect((await claimed).rows).toHaveLength(31);
});

it('answers a claim of many in parts that a socket takes, and says that there is more', async () => {
  const Work = taskOf('work', () => {});
  const { tasks, schema } = await bootApp([Work], { workers: false });
  await tasks.setLimits('default', { globalConcurrency: 100_000 });
  await tasks.enqueueMany(Work, Array.from({ length: 700 }));
  const { claim } = await worker(schema);
  const parts = [(await claim(100_000)).rows, (await claim(100_000)).rows];
  expect(parts.map((rows) => rows.length - 1)).toEqual([500, 200]);
  expect(parts.map((rows) => rows.at(-1)?.in_ms)).toEqual([0, null]);
});

it('gives back what it has claimed when its payload does not arrive', { timeout: 30_000 }, async () => {
  const original = Client.prototype.query;
  whenFinished(async () => {
    Client.prototype.query = original;
  });
  let lost = 0;
  Client.prototype.query = function (this: Client, ...args: unknown[]) {
    const query = args[0] as { name?: string; callback?: (error: Error) => void };
    if (lost === 0 && query.name?.includes('claimedTasks')) {
      lost++;
      queueMicrotask(() => query.callback?.(new Error('Connection terminated')));
      return query;
    }
    return Reflect.apply(original, this, args) as unknown;
  } as typeof original;
  const Work = taskOf('work', () => {});
  const { tasks, events } = await bootApp([Work], { queues: [{ name: 'default', globalConcurrency: 2 }] });
  const done = next(events, 'done', 2);
  const ids = (await tasks.enqueueMany(Work, [1, 2])).map(({ id }) => id);
  expect((await done).map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
  expect(lost).toBe(1);
});
