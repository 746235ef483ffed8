import { BackgroundTask, type BackieModuleOptions, type TaskQueue } from 'nestjs-backie';
import { expect, it } from 'vitest';
import type { KeyedPayload } from '../../fixtures/keyed.app.js';
import { startWorker } from '../../fixtures/worker-process.js';
import { bootApp, sql } from '../../support/app.js';
import { until } from '../../support/tasks.js';

/** Not so short that a busy machine ends the lease of a process that lives. */
const short = { leaseMs: 4_000, heartbeatMs: 200 };
/** A busy machine takes its time to start four processes. */
const fourProcessesMs = 90_000;
const narrowKeys = ['a', 'b', 'c', 'd'];
const each = 20;

const concurrencyKey = ({ key }: KeyedPayload) => key;

@BackgroundTask('narrow', { concurrencyKey })
class Narrow {
  run(_payload: KeyedPayload): void {}
}

@BackgroundTask('wide', { concurrencyKey, concurrencyLimit: 3 })
class Wide {
  run(_payload: KeyedPayload): void {}
}

/** A producer, and the tables in which the processes write down what they see. */
async function setUp(lease: Pick<BackieModuleOptions, 'leaseMs' | 'heartbeatMs'> = {}) {
  const { tasks, schema } = await bootApp([Narrow, Wide], { workers: false });
  await sql(`CREATE TABLE "${schema}".running (key text, id uuid, attempt integer, pid integer)`);
  await sql(`CREATE TABLE "${schema}".seen
    (nr bigint GENERATED ALWAYS AS IDENTITY, key text, place integer, attempt integer, at_once integer)`);
  const start = () => startWorker({ schema, ...lease }, undefined, 'keyed.app');
  const processes = await Promise.all([start(), start(), start(), start()]);
  const seen = () =>
    sql<{ key: string; place: number; attempt: number; at_once: number }>(
      `SELECT key, place, attempt, at_once FROM "${schema}".seen ORDER BY nr`,
    );
  return { tasks, schema, processes, seen };
}

async function enqueueAll(tasks: TaskQueue): Promise<void> {
  const payloads = Array.from({ length: each }, (_, place) => place);
  await Promise.all([
    ...payloads.flatMap((place) => narrowKeys.map((key) => tasks.enqueue(Narrow, { key, place }))),
    tasks.enqueueMany(
      Wide,
      payloads.map((place) => ({ key: 'wide', place })),
    ),
  ]);
}

const allEnded = (tasks: TaskQueue) =>
  until(
    () => tasks.counts(),
    ({ ready, running }) => ready + running === 0,
  );

const most = (seen: readonly { key: string; at_once: number }[], key: string) =>
  Math.max(...seen.filter((one) => one.key === key).map(({ at_once }) => at_once));

it(
  'never runs more of a key at once than its limit, in four processes, and in the order of enqueueing',
  { timeout: fourProcessesMs },
  async () => {
    const { tasks, processes, seen } = await setUp();
    await enqueueAll(tasks);
    await allEnded(tasks);
    const all = await seen();
    for (const key of narrowKeys) {
      expect(most(all, key)).toBe(1);
      const places = all.filter((one) => one.key === key).map(({ place }) => place);
      expect(places).toEqual(Array.from({ length: each }, (_, place) => place));
    }
    expect(most(all, 'wide')).toBe(3);
    expect(all.filter(({ key }) => key === 'wide')).toHaveLength(each);
    await Promise.all(processes.map((one) => one.close()));
  },
);

it(
  'never runs more of a key at once than its limit while processes that hold it are killed',
  { timeout: fourProcessesMs },
  async () => {
    const { tasks, schema, processes, seen } = await setUp(short);
    await enqueueAll(tasks);
    for (const victim of processes.slice(0, 2)) {
      const { pid } = victim.child;
      const holds = () => sql(`SELECT FROM "${schema}".running WHERE pid = $1`, [pid]);
      await until(holds, (rows) => rows.length > 0);
      await victim.kill();
      // What it ran runs no more; its lease has not ended yet, so nobody else has begun.
      await sql(`DELETE FROM "${schema}".running WHERE pid = $1`, [pid]);
    }
    await allEnded(tasks);
    const all = await seen();
    for (const key of narrowKeys) expect(most(all, key)).toBe(1);
    expect(most(all, 'wide')).toBeLessThanOrEqual(3);
    for (const key of [...narrowKeys, 'wide']) {
      const places = new Set(all.filter((one) => one.key === key).map(({ place }) => place));
      // Whoever was killed before it wrote down what it saw, ran again.
      expect(places.size).toBe(each);
    }
  },
);
