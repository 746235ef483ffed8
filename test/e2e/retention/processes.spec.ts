import { expect, inject, it } from 'vitest';
import { startWorker } from '../../fixtures/worker-process.js';
import { bootApp, sql } from '../../support/app.js';
import { connected } from '../../support/own-server.js';
import { until } from '../../support/tasks.js';
import { dayMs, historyOf, partitionAt } from './retention.fixtures.js';

/** They look for the work of a day every 60 heartbeats, and take it from who was not heard of for half of that. */
const optionsOf = (heartbeatMs: number) => {
  return { leaseMs: 2_000, heartbeatMs, queues: [{ name: 'default', retention: { done: dayMs, failed: 7 * dayMs } }] };
};

/** A schema in which it is written down who takes the work of a day. */
async function audited() {
  const { schema, tasks } = await bootApp([], { workers: false });
  await sql(`
    CREATE TABLE "${schema}".audit (day date, job text, holder uuid);
    CREATE FUNCTION "${schema}".audit() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO "${schema}".audit VALUES (NEW.day, NEW.job, NEW.holder); RETURN NULL; END $$;
    CREATE TRIGGER taken AFTER INSERT OR UPDATE OF holder ON "${schema}".upkeep
    FOR EACH ROW EXECUTE FUNCTION "${schema}".audit()`);
  const takers = async () => {
    const rows = await sql<{ job: string; holders: number }>(
      `SELECT job, count(DISTINCT holder)::int AS holders FROM "${schema}".audit GROUP BY day, job ORDER BY job, day`,
    );
    return rows.map(({ job, holders }) => `${job}: ${holders}`);
  };
  const history = historyOf(schema);
  const finished = () => until(history.upkeep, (rows) => rows.filter((row) => row.today && row.finished).length === 2);
  return { schema, tasks, takers, finished, ...history };
}

it('prunes in one of several processes that start together and pass a midnight together, while they work on', async () => {
  const { schema, tasks, takers, finished, addPartition, addFinished, refuseDeletes, passDay, tables, places } =
    await audited();
  const [first, second] = [partitionAt(Date.now() - 3 * dayMs), partitionAt(Date.now() - 2 * dayMs)];
  await addPartition(first.name, first);
  await addFinished(first.from, first.to - 1);
  await refuseDeletes();
  // Longer than the work takes on a busy machine.
  const options = optionsOf(60);
  const workers = await Promise.all([1, 2, 3].map(() => startWorker({ schema, ...options })));
  await finished();
  expect(await takers()).toEqual(['partitions: 1', 'rows: 1']);
  expect(await tables()).not.toContain(first.name);

  const state = { over: false };
  const working = (async () => {
    let enqueued = 0;
    for (; !state.over; enqueued += 50) {
      await tasks.enqueueMany('quick', Array.from({ length: 50 }));
      await until(
        () => tasks.counts(),
        ({ done }) => done === enqueued + 50,
      );
    }
    return enqueued;
  })();
  await addPartition(second.name, second);
  await addFinished(second.from, second.to - 1);
  await sql(`UPDATE "${schema}".audit SET day = day - 1`);
  await passDay();
  await finished();
  state.over = true;
  const enqueued = await working;
  // Once for each of the two days.
  expect(await takers()).toEqual(['partitions: 1', 'partitions: 1', 'rows: 1', 'rows: 1']);
  expect(await tables()).not.toContain(second.name);
  expect(await tasks.counts()).toEqual({ ready: 0, running: 0, done: enqueued, failed: 0, cancelled: 0 });
  // Each in the partition of its day, which was there before the first of them ended.
  const days = [0, 1].map((day) => partitionAt(Date.now() + day * dayMs).name);
  for (const place of new Set(Object.values(await places()))) expect(days).toContain(place);
  await Promise.all(workers.map((worker) => worker.close()));
});

it('has another process take over from one that is killed while it prunes', async () => {
  const { schema, takers, finished, addFinished, upkeep, places } = await audited();
  const options = optionsOf(20);
  await addFinished(Date.now() - 1_000);
  const [staying] = await addFinished(Date.now() + dayMs);
  // Who deletes from there waits.
  const lock = await connected(inject('databaseUrl'));
  await lock.query('BEGIN');
  await lock.query(`LOCK TABLE "${schema}".finished_task_default IN EXCLUSIVE MODE`);
  const dying = await startWorker({ schema, ...options });
  const taken = (row: { job: string; finished: boolean }) => row.job === 'rows' && !row.finished;
  const [{ holder }] = (await until(upkeep, (rows) => rows.some(taken))).filter(taken);
  await dying.kill();
  const others = await Promise.all([startWorker({ schema, ...options }), startWorker({ schema, ...options })]);
  await until(upkeep, (rows) => rows.some((row) => taken(row) && row.holder !== holder));
  await lock.query('COMMIT');
  await finished();
  expect((await takers()).at(-1)).not.toBe('rows: 1');
  expect(Object.keys(await places())).toEqual([staying]);
  await Promise.all(others.map((worker) => worker.close()));
});
