import { Client } from 'pg';
import { expect, it } from 'vitest';
import { startProxy } from '../../fixtures/proxy.js';
import { bootApp, next, runTask } from '../../support/app.js';
import { connected, ownServer } from '../../support/own-server.js';
import { deferred, taskOf, until } from '../../support/tasks.js';

const schema = 'crashed';

/** The statement that waits for the disk, where it is parsed or bound. */
const flush = /(P[^]{4}|B[^]{4}\0)backie_flush\0/;

/** Kills one of the server's processes, as it would end by a fault: it begins anew from what is on the disk. */
async function crash(url: string): Promise<void> {
  const victim = new Client({ connectionString: url });
  victim.on('error', () => {});
  await victim.connect();
  const { rows } = await victim.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  const ended = new Promise((resolve) => victim.once('end', resolve));
  process.kill(rows[0].pid, 'SIGKILL');
  await ended;
}

it('starts a task before its enqueue resolves, and stores it again when a crash forgets it', async () => {
  // Nothing writes the server's log but commits that wait for it.
  const { url, client } = await ownServer({ wal_writer_delay: '10s' });
  client.on('error', () => {});
  const proxy = await startProxy('forward', url);
  const [started, released] = [deferred(), deferred()];
  const Quick = taskOf('quick', () => {});
  const Work = taskOf('work', () => {
    started.resolve();
    return released.promise;
  });
  const { tasks, events } = await bootApp([Quick, Work], {
    connection: proxy.url,
    schema,
    defaults: { retention: 'keepAll' },
    queues: [{ name: 'default', pollIntervalMs: 60_000 }],
  });
  // A task that is handed over starts when it is stored; from then on its worker knows that the queue is empty.
  await until(
    async () => {
      await runTask({ tasks, events }, Quick);
      const handed = `SELECT FROM ${schema}.finished_task WHERE started_at = created_at`;
      return (await client.query(handed)).rowCount;
    },
    (count) => count === 1,
  );
  const { reached } = proxy.hold('rest', flush);
  const told: string[] = [];
  events.enqueued.subscribe(() => told.push('enqueued'));
  events.started.subscribe(() => told.push('started'));
  const enqueued = tasks.enqueue(Work).finally(() => told.push('resolved'));
  await Promise.all([reached, started.promise]);
  // Whatever else commits would bring the task to the disk.
  proxy.freeze();
  expect(told).toEqual(['enqueued', 'started']);
  const seen = await client.query<{ clock: Date }>(`SELECT clock_timestamp() AS clock FROM ${schema}.task`);
  expect(seen.rowCount).toBe(1);

  await crash(url);
  const { id } = await enqueued;
  const done = next(events, 'done');
  released.resolve();
  expect(await done).toMatchObject([{ id }]);
  await until(
    () => tasks.find(id),
    (task) => task?.state === 'done',
  );
  const observer = await connected(url);
  const { rows } = await observer.query(
    `SELECT id, created_at > $1 AS anew FROM ${schema}.finished_task WHERE name = 'work'`,
    [seen.rows[0].clock],
  );
  expect(rows).toEqual([{ id, anew: true }]);
});
