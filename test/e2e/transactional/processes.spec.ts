import { expect, it } from 'vitest';
import { type Proxy, startProxy } from '../../fixtures/proxy.js';
import { startWorker, type WorkerProcess } from '../../fixtures/worker-process.js';
import { bootApp, freshSchema, sql } from '../../support/app.js';
import { found, until } from '../../support/tasks.js';

const short = { leaseMs: 1_000, heartbeatMs: 100 };
const keepAll = { retention: 'keepAll' as const, pollIntervalMs: 100 };

interface Step {
  readonly name: string;
  /** Where the handler waits, if it is the handler that does. */
  readonly stopAt?: 'wrote' | 'followed';
  /** Makes the first attempt stand still there; resolves when it does, to the port of the connection that is held. */
  stop(proxy: Proxy, worker: WorkerProcess): Promise<number | undefined>;
  /** Whether the transaction has committed by then. */
  readonly committed?: true;
}

const held = (what: 'message' | 'reply', pattern: RegExp) => (proxy: Proxy) => proxy.hold(what, pattern).reached;
const inHandler = (stopAt: 'wrote' | 'followed') => ({
  stopAt,
  stop: async (_: Proxy, worker: WorkerProcess) => void (await worker.next(stopAt)),
});

/** As the driver sends it: without a name, which those of the engine's own connections have. */
const settlement = /P[^]{4}\0[^\0]*DELETE FROM \S+"task"/;

const steps: readonly Step[] = [
  { name: 'before its transaction begins', stop: held('message', /START TRANSACTION/) },
  { name: 'after its first write', ...inHandler('wrote') },
  { name: 'after it has enqueued a follow-up', ...inHandler('followed') },
  { name: 'after its handler has returned', stop: held('message', settlement) },
  { name: 'after it is settled, before the COMMIT', stop: held('message', /COMMIT/) },
  { name: 'after the COMMIT, before its reply', stop: held('reply', /COMMIT/), committed: true },
];

/** A transfer that the first of two processes runs through a proxy, and what came of it. */
async function world() {
  const schema = freshSchema();
  const table = `"${schema}".effect`;
  const { tasks } = await bootApp([], { schema, workers: false, defaults: keepAll });
  await sql(`CREATE TABLE ${table} (task_id uuid, pid integer)`);
  const proxy = await startProxy();
  const options = { schema, ...short, defaults: keepAll };
  const worker = await startWorker({ ...options, connection: proxy.url });
  const told: { readonly id: string; readonly event: string }[] = [];
  const events = () => told.filter(({ id }) => id === transfer.id).map(({ event }) => event);
  const watch = (process: WorkerProcess) => {
    for (const kind of ['started', 'done', 'lost', 'retrying'] as const) {
      process.messages(kind).subscribe((message) => {
        const { id, attempt } = message as { id: string; attempt: number };
        told.push({ id, event: `${kind} ${attempt}` });
      });
    }
    return process;
  };
  const transfer = { id: '' };
  const effects = () => sql<{ task_id: string; pid: number }>(`SELECT * FROM ${table}`);
  return {
    tasks,
    schema,
    proxy,
    worker: watch(worker),
    effects,
    /** Expects that this is what the processes have told of the transfer, when they have told that much. */
    expectEvents: async (...expected: string[]) => {
      const enough = await until(
        // A round trip to the database gives them time.
        async () => (await tasks.counts()) && events(),
        ({ length }) => length >= expected.length,
      );
      // In whatever order: a claim may overtake the reply to the settlement that it follows, on another connection.
      expect(enough.toSorted()).toEqual(expected.toSorted());
    },
    successor: async () => watch(await startWorker(options)),
    begin: async (stopAt?: string) => {
      ({ id: transfer.id } = await tasks.enqueue('transfer', { table, stopAt }));
      return transfer.id;
    },
    /** Waits for the end of everything, and expects that all of it has happened once. */
    expectOnce: async (pid?: number) => {
      const idle = () => tasks.counts();
      const counts = await until(idle, ({ ready, running, done }) => ready + running === 0 && done === 2);
      expect(counts).toEqual({ ready: 0, running: 0, done: 2, failed: 0, cancelled: 0 });
      expect(await effects()).toEqual([{ task_id: transfer.id, pid: pid ?? (expect.any(Number) as number) }]);
      expect((await tasks.list({ name: 'quick' })).tasks).toHaveLength(1);
      expect(await found(tasks, transfer.id)).toMatchObject({ state: 'done' });
    },
  };
}

it.each(steps)('has its effects once when its process is killed $name', async ({ stop, stopAt, committed }) => {
  const { proxy, worker, successor, begin, effects, expectOnce } = await world();
  const stopped = stop(proxy, worker);
  await begin(stopAt);
  await stopped;
  expect(await effects()).toHaveLength(committed ? 1 : 0);
  const { pid } = worker.child;
  await worker.kill();
  const other = await successor();
  await expectOnce(committed ? pid : other.child.pid);
});

it.each(steps)('has its effects once when its connection is terminated $name', async ({ stop, stopAt, committed }) => {
  const { proxy, worker, begin, schema, expectOnce, expectEvents } = await world();
  const stopped = stop(proxy, worker);
  await begin(stopAt);
  const port = await stopped;
  const terminated = await sql(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE client_port = $1 OR ($1 IS NULL AND state = 'idle in transaction' AND query LIKE $2)`,
    [port ?? null, `%${schema}%`],
  );
  expect(terminated).toHaveLength(1);
  worker.finish();
  await expectOnce(worker.child.pid);
  await expectEvents(...(committed ? ['started 1', 'done 1'] : ['started 1', 'retrying 1', 'started 2', 'done 2']));
});

it('is told to be done, once, when the reply to its COMMIT is lost with its connection', async () => {
  const { proxy, worker, begin, expectOnce, expectEvents } = await world();
  const lost = proxy.loseReplyTo(/COMMIT/);
  await begin();
  await lost;
  await expectOnce(worker.child.pid);
  await expectEvents('started 1', 'done 1');
});

it('leaves no effect of a process that was stopped past its lease and returns when it wakes up', async () => {
  const { worker, begin, successor, expectOnce, expectEvents } = await world();
  const stopped = worker.next('wrote');
  await begin('wrote');
  await stopped;
  worker.child.kill('SIGSTOP');
  const other = await successor();
  await expectOnce(other.child.pid);
  const lost = worker.next('lost');
  worker.finish();
  worker.child.kill('SIGCONT');
  await lost;
  await expectOnce(other.child.pid);
  await expectEvents('started 1', 'started 2', 'done 2', 'lost 1');
});

it('keeps a task no longer than a moment when its process stops between settling it and the COMMIT', async () => {
  const { proxy, worker, begin, successor, expectOnce, schema } = await world();
  const stopped = proxy.hold('message', /COMMIT/).reached;
  await begin();
  await stopped;
  worker.child.kill('SIGSTOP');
  const locked = await sql(`SELECT FROM "${schema}".task WHERE name = 'transfer' FOR UPDATE SKIP LOCKED`);
  expect(locked).toEqual([]);
  const other = await successor();
  await expectOnce(other.child.pid);
});
