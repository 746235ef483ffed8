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

/** A connection to a server that may still be recovering. */
async function recovered(url: string): Promise<Client> {
  for (;;) {
    try {
      return await connected(url);
    } catch (error) {
      if (!/recovery mode|starting up|not yet accepting|terminat|ECONN/.test(String(error))) throw error;
    }
  }
}

/** An application whose worker knows that its queue is empty, on a server of its own and behind a proxy. */
async function boot(run: () => unknown, retention: 'keepAll' | 'removeDone') {
  // Nothing writes the server's log but commits that wait for it.
  const { url, client } = await ownServer({ wal_writer_delay: '10s' });
  client.on('error', () => {});
  const proxy = await startProxy('forward', url);
  let handed = false;
  const Quick = taskOf('quick', async (_, { id }) => {
    const look = `SELECT started_at = created_at AS handed FROM ${schema}.task WHERE id = $1`;
    handed = (await client.query<{ handed: boolean }>(look, [id])).rows[0].handed;
  });
  const { tasks, events } = await bootApp([Quick, taskOf('work', run)], {
    connection: proxy.url,
    schema,
    queues: [{ name: 'default', pollIntervalMs: 60_000, retention }],
  });
  await until(
    () => runTask({ tasks, events }, Quick),
    () => handed,
  );
  const told: string[] = [];
  events.enqueued.subscribe(() => told.push('enqueued'));
  events.started.subscribe(() => told.push('started'));
  events.done.subscribe(() => told.push('done'));
  return { url, client, proxy, tasks, events, told };
}

it('starts a task before its enqueue resolves, and stores it again when a crash forgets it', async () => {
  const [started, released] = [deferred(), deferred()];
  const { url, client, proxy, tasks, events, told } = await boot(() => {
    started.resolve();
    return released.promise;
  }, 'keepAll');
  const { reached } = proxy.hold('rest', flush);
  const enqueued = tasks.enqueue('work').finally(() => told.push('resolved'));
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
  const observer = await recovered(url);
  const { rows } = await observer.query(
    `SELECT id, created_at > $1 AS anew FROM ${schema}.finished_task WHERE name = 'work'`,
    [seen.rows[0].clock],
  );
  expect(rows).toEqual([{ id, anew: true }]);
});

it('ends nothing before its enqueue is answered, and runs it once though that answer is lost', async () => {
  const started = deferred();
  const { client, proxy, tasks, events, told } = await boot(() => started.resolve(), 'removeDone');
  const live = async () => (await client.query(`SELECT FROM ${schema}.task`)).rowCount;
  const { reached } = proxy.hold('rest', flush);
  const done = next(events, 'done');
  const enqueued = tasks.enqueue('work').finally(() => told.push('resolved'));
  await Promise.all([reached, started.promise]);
  expect(await live()).toBe(1);
  proxy.cut();
  const { id } = await enqueued;
  expect(await done).toMatchObject([{ id }]);
  expect(told).toEqual(['enqueued', 'started', 'resolved', 'done']);
  expect(await live()).toBe(0);
});

it('has on the disk what was enqueued again after an answer was lost', async () => {
  const [started, released] = [deferred(), deferred()];
  const { url, proxy, tasks } = await boot(() => {
    started.resolve();
    return released.promise;
  }, 'removeDone');
  const { reached } = proxy.hold('rest', flush);
  const enqueued = tasks.enqueue('work');
  await Promise.all([reached, started.promise]);
  proxy.cut();
  const { id } = await enqueued;
  proxy.freeze();
  await crash(url);
  const observer = await recovered(url);
  const { rows } = await observer.query(`SELECT id FROM ${schema}.task`);
  expect(rows).toEqual([{ id }]);
  released.resolve();
});
