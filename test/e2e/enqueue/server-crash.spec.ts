import { randomUUID } from 'node:crypto';
import { type CurrentTask, LeaseLostError } from 'nestjs-backie';
import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { Client } from 'pg';
import { describe, expect, it } from 'vitest';
import { newTask } from '../../contract/task-store.fixtures.js';
import { startProxy } from '../../fixtures/proxy.js';
import { bootApp, next, runTask, whenFinished } from '../../support/app.js';
import { connected, ownServer } from '../../support/own-server.js';
import { sentStatements } from '../../support/sent-statements.js';
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

describe('a claim that is not on the disk yet', () => {
  /** An application whose worker is behind a proxy and holds such a claim, of what another application has enqueued. */
  async function claimedEarly(run: (payload: unknown, task: CurrentTask) => unknown) {
    const { url, client } = await ownServer({ wal_writer_delay: '10s' });
    client.on('error', () => {});
    const proxy = await startProxy('forward', url);
    const Work = taskOf('work', run);
    const queues = [{ name: 'default', pollIntervalMs: 500, retention: 'keepAll' as const }];
    const Quick = taskOf('quick', () => {});
    const { tasks, events } = await bootApp([Work, Quick], { connection: proxy.url, schema, queues });
    const producer = await bootApp([Work], { connection: url, schema, workers: false });
    // What a start writes is written then.
    await runTask({ tasks, events }, Quick);
    const told: string[] = [];
    for (const kind of ['started', 'lost', 'done'] as const) events[kind].subscribe(() => told.push(kind));
    const { reached } = proxy.hold('rest', flush);
    // With a unique key it is on the disk before anybody is told of it: else its own flush might take the claim along.
    const { id } = await producer.tasks.enqueue('work', {}, { uniqueKey: 'once' });
    await reached;
    return { url, client, proxy, tasks, events, told, id };
  }

  it('starts the task, which runs again when a crash forgets the claim, whose number nobody gets', async () => {
    const attempts: CurrentTask[] = [];
    const { url, client, proxy, tasks, events, told, id } = await claimedEarly(async (_, task) => {
      if (attempts.push(task) > 1) return;
      await new Promise((resolve) => task.signal.addEventListener('abort', resolve));
    });
    // Whatever else commits would bring the claim to the disk.
    proxy.freeze();
    const { rows } = await client.query(`SELECT claim_seq, worker_id IS NOT NULL AS held FROM ${schema}.task`);
    expect(rows).toEqual([{ claim_seq: '1', held: true }]);
    expect(told).toEqual(['started']);
    const done = next(events, 'done');
    const lost = next(events, 'lost');
    await crash(url);
    expect(await done).toMatchObject([{ id, attempt: 1 }]);
    await lost;
    const [first, second] = attempts.map(({ fencingToken }) => fencingToken);
    expect(first).toBe(1);
    expect(second).toBeGreaterThan(2 ** 24);
    expect(second % 2 ** 24).toBe(0);
    expect(attempts[0].signal.reason).toBeInstanceOf(LeaseLostError);
    expect(told.toSorted()).toEqual(['done', 'lost', 'started', 'started']);
    expect(await tasks.find(id)).toMatchObject({ state: 'done', claimSeq: second });
  });

  it('is flushed by the session that has claimed, which outlives no crash', async () => {
    const sent = sentStatements();
    const done = deferred();
    let looked: Promise<unknown> | undefined;
    // Takes the connection that has claimed, if that is free.
    const Work = taskOf('work', () => void (looked = tasks.counts()));
    const { tasks, events, schema: own } = await bootApp([Work]);
    const producer = await bootApp([Work], { schema: own, workers: false });
    events.done.subscribe(() => done.resolve());
    await producer.tasks.enqueue('work', {}, { uniqueKey: 'once' });
    await done.promise;
    const flushed = sent.all.findIndex(({ name }) => name === 'backie_flush');
    const claim = sent.all.slice(0, flushed).findLast(({ name }) => name === 'backie_claim');
    expect(claim!.values.at(-1)).toBe(true);
    expect(sent.all[flushed]!.client).toBe(claim!.client);
    await looked;
  });

  it('has the outcome written when it is there, though its answer was lost', async () => {
    const { proxy, tasks, events, told, id } = await claimedEarly(() => {});
    expect(told).toEqual(['started']);
    const done = next(events, 'done');
    proxy.cut();
    expect(await done).toMatchObject([{ id }]);
    expect(await tasks.find(id)).toMatchObject({ state: 'done', claimSeq: 1 });
    expect(told).toEqual(['started', 'done']);
  });
});

it('counts claims far above all before after each crash, whoever claims first after it', async () => {
  const { url, client } = await ownServer({ wal_level: 'logical' });
  client.on('error', () => {});
  // What is published may only be changed if each row can be told from the others.
  await client.query('CREATE PUBLICATION everything FOR ALL TABLES');
  const open = async (to: string) => {
    const store = new TypeOrmTaskStore({ connection: to, schema });
    await store.open();
    whenFinished(() => store.close());
    return store;
  };
  const tokens: number[] = [];
  for (let crashes = 0; crashes < 3; crashes++) {
    const stores = [await open(url), await open(url), await open(url)];
    const claims = stores.map(async (store, i) => {
      const worker = { id: randomUUID(), host: 'host', pid: 1, version: '0.0.0', queues: ['q'] };
      const lease = await store.lease(
        worker,
        { leaseMs: 60_000, heartbeatMs: 30_000 },
        { lost() {}, renewalFailed() {} },
      );
      await store.enqueue([newTask({ queue: 'q', name: `work-${i}` })]);
      const [task] = await store.claim({ workerId: lease.workerId, queue: 'q', names: [`work-${i}`], limit: 1 });
      tokens.push(task.claimSeq);
    });
    await Promise.all(claims);
    await crash(url);
    (await recovered(url)).on('error', () => {});
  }
  expect(tokens.slice(0, 3)).toEqual([1, 1, 1]);
  const [second, third] = [new Set(tokens.slice(3, 6)), new Set(tokens.slice(6))];
  expect([second.size, third.size]).toEqual([1, 1]);
  expect([...second][0]).toBeGreaterThan(2 ** 24);
  expect([...third][0] - [...second][0]).toBeGreaterThanOrEqual(2 ** 24);
});
