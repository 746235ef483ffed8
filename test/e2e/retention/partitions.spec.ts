import { randomUUID } from 'node:crypto';
import * as fc from 'fast-check';
import { backieMigrations } from 'nestjs-backie/typeorm';
import { expect, inject, it } from 'vitest';
import { freshSchema, openDataSource, sql, whenFinished } from '../../support/app.js';
import { connected } from '../../support/own-server.js';
import { freshRole } from '../../support/role.js';
import { dayMs, historyOf, openStore, partitionAt, prune, world } from './retention.fixtures.js';

const always = ['finished_task', 'finished_task_default', 'finished_task_forever'];
const done = (job: string) => ({ job, today: true, finished: true, holder: expect.any(String) as string });

/** A partition whose day is over: two days ago, so that no midnight comes between. */
const past = () => partitionAt(Date.now() - 2 * dayMs);

it('gives each partition that it makes the index of dead letters', async () => {
  const { schema, store, tables } = await world();
  await prune(store, [dayMs]);
  const made = await tables();
  expect(made.length).toBeGreaterThan(always.length);
  const indexed = await sql(`SELECT FROM pg_inherits WHERE inhparent = $1::regclass`, [
    `"${schema}".finished_task_dead`,
  ]);
  expect(indexed).toHaveLength(made.length - 1);
});

it('makes the days until which tasks will stay, and stores each task in its own', async () => {
  const { store, end, places, tables } = await world();
  expect(await tables()).toEqual(always);
  const before = Date.now();
  await prune(store, [dayMs, 30 * dayMs, 365 * dayMs]);
  const [day, month, year, ever, odd] = [
    await end(dayMs),
    await end(30 * dayMs),
    await end(365 * dayMs),
    await end(Infinity),
    await end(10 * dayMs),
  ];
  const { [day]: inDay, [month]: inMonth, [year]: inYear, ...others } = await places();
  // A midnight may have passed since.
  const days = (keepMs: number, width?: number) =>
    [before, Date.now()].map((now) => partitionAt(now + keepMs, width).name);
  expect(days(dayMs)).toContain(inDay);
  expect(days(30 * dayMs)).toContain(inMonth);
  expect(days(365 * dayMs, 7)).toContain(inYear);
  expect(others).toEqual({ [ever]: 'finished_task_forever', [odd]: 'finished_task_default' });
});

it('makes no partition when nothing stays for a time, and no other one for what is there', async () => {
  const { store, tables, passDay } = await world();
  expect(await prune(store)).toEqual({ dropped: [], deleted: 0, unfinished: false });
  expect(await tables()).toEqual(always);
  await prune(store, [dayMs]);
  const made = await tables();
  expect(made.length).toBeGreaterThan(always.length);
  await passDay();
  await prune(store, [dayMs]);
  expect(await tables()).toEqual(expect.arrayContaining(made));
});

it('drops a partition whose day is over, and nothing else; no row is deleted', async () => {
  const { store, end, addPartition, addFinished, refuseDeletes, passDay, places, tables } = await world();
  const gone = past();
  await prune(store, [2 * dayMs]);
  await passDay();
  await addPartition(gone.name, gone);
  await addFinished(gone.from, gone.to - 1);
  const staying = [await end(2 * dayMs), await end(Infinity), await end(20 * dayMs)];
  await refuseDeletes();
  const before = await tables();
  expect(await prune(store, [2 * dayMs])).toEqual({ dropped: [gone.name], deleted: 0, unfinished: false });
  expect(await tables()).toEqual(before.filter((name) => name !== gone.name));
  expect(Object.keys(await places()).toSorted()).toEqual(staying.toSorted());
});

it('drops no partition whose name lies about its days', async () => {
  const { store, addPartition, addFinished, places, tables } = await world();
  const { name } = past();
  await addPartition(name, partitionAt(Date.now() + 9 * dayMs));
  const [id] = await addFinished(Date.now() + 9 * dayMs);
  expect(await prune(store)).toMatchObject({ dropped: [] });
  expect(await tables()).toContain(name);
  expect(await places()).toEqual({ [id]: name });
});

it('deletes row by row what is over in the default partition, however much that is', async () => {
  const { store, addFinished, places } = await world();
  await addFinished(...Array.from({ length: 2_500 }, (_, i) => Date.now() - 1_000 * i));
  const staying = await addFinished(Date.now() + 600_000, Date.now() + 5 * dayMs, null);
  expect(await prune(store)).toEqual({ dropped: [], deleted: 2_500, unfinished: false });
  expect(Object.keys(await places()).toSorted()).toEqual(staying.toSorted());
});

it('stops between batches when its process ends, and leaves the rest to another', async () => {
  const { store, addFinished, upkeep } = await world();
  await addFinished(...Array.from({ length: 2_500 }, () => Date.now() - 1_000));
  const ending = new AbortController();
  const seen = {
    get aborted() {
      return ending.signal.aborted;
    },
  };
  const client = await connected(inject('databaseUrl'));
  await client.query('BEGIN');
  await client.query(`LOCK TABLE "${store.schema}".finished_task_default`);
  const pruned = store.prune({ holder: randomUUID(), keepMs: [], staleMs: 60_000, signal: seen as AbortSignal });
  await sql(`SELECT 1`);
  ending.abort();
  await client.query('COMMIT');
  expect((await pruned).deleted).toBeLessThanOrEqual(1_000);
  expect(await upkeep()).not.toContainEqual(done('rows'));
  expect((await prune(store, [], -60_000)).deleted).toBeGreaterThanOrEqual(1_500);
});

it('has the work of a day done once, whoever asks', async () => {
  const { schema, store, addPartition, addFinished, upkeep, passDay } = await world();
  const stores = [store, ...(await Promise.all([1, 2, 3, 4].map(() => openStore({ schema }))))];
  for (const round of [1, 2]) {
    const gone = partitionAt(Date.now() - (1 + round) * dayMs);
    await addPartition(gone.name, gone);
    await addFinished(gone.from, Date.now() - 1_000, Date.now() - 2_000);
    const reports = await Promise.all(stores.flatMap((one) => [prune(one, [dayMs]), prune(one, [dayMs])]));
    expect(reports.flatMap(({ dropped }) => dropped)).toEqual([gone.name]);
    expect(reports.filter(({ deleted }) => deleted > 0)).toHaveLength(1);
    expect((await upkeep()).filter(({ today }) => today)).toEqual([done('partitions'), done('rows')]);
    // What is over later is for tomorrow.
    await addFinished(Date.now() - 1_000);
    expect(await prune(store)).toMatchObject({ deleted: 0 });
    await passDay();
  }
});

it('takes the work over from a process that died over it, and from no other', async () => {
  const { store, addFinished, upkeep } = await world();
  await addFinished(Date.now() - 1_000);
  const dead = randomUUID();
  const take = (job: string, agoMs: number) =>
    sql(
      `INSERT INTO "${store.schema}".upkeep (day, job, holder, taken_at)
       VALUES ((now() AT TIME ZONE 'UTC')::date, $1, $2, now() - make_interval(secs => $3::float8 / 1000))`,
      [job, dead, agoMs],
    );
  await take('rows', 50_000);
  await take('partitions', 70_000);
  expect(await prune(store)).toMatchObject({ deleted: 0 });
  expect(await upkeep()).toMatchObject([
    { job: 'partitions', finished: true, holder: expect.not.stringMatching(dead) as string },
    { job: 'rows', finished: false, holder: dead },
  ]);
  expect(await prune(store, [], 40_000)).toMatchObject({ deleted: 1 });
  expect(await upkeep()).toEqual([done('partitions'), done('rows')]);
});

it('lets tasks end while a long transaction reads the history, and comes back for what that is in the way of', async () => {
  const { store, end, addPartition, tables, upkeep } = await world();
  const gone = past();
  await addPartition(gone.name, gone);
  const reader = await connected(inject('databaseUrl'));
  await reader.query('BEGIN');
  await reader.query(`SELECT FROM "${store.schema}".finished_task`);
  const holder = randomUUID();
  const again = (keepMs: readonly number[] = []) =>
    store.prune({ holder, keepMs, staleMs: 60_000, signal: new AbortController().signal });
  const state = { pruning: true };
  const shortestMs = [Infinity, Infinity];
  const rounds = (async () => {
    for (let round = 0; round < 6; round++) {
      const startedAt = performance.now();
      // One partition is to be dropped, and in every other round some are to be made before.
      const make = round % 2;
      expect(await again(make ? [dayMs] : [])).toMatchObject({ dropped: [], unfinished: true });
      shortestMs[make] = Math.min(shortestMs[make], performance.now() - startedAt);
    }
    state.pruning = false;
  })();
  let ended = 0;
  for (; state.pruning; ended++) await end(Infinity);
  await rounds;
  expect(ended).toBeGreaterThan(5);
  // It waits, and makes others wait, for a tenth of a second; the rest is the machine's other work.
  for (const ms of shortestMs) expect(ms).toBeLessThan(700);
  expect(await tables()).toEqual([...always, gone.name].toSorted());
  expect(await upkeep()).not.toContainEqual(done('partitions'));
  await reader.query('COMMIT');
  expect(await again()).toMatchObject({ dropped: [gone.name], unfinished: false });
  expect(await upkeep()).toContainEqual(done('partitions'));
});

it('stores a task that was on its way to the default partition in the one that is just made for its day', async () => {
  const { store, end, places } = await world();
  const client = await connected(inject('databaseUrl'));
  const table = `"${store.schema}".finished_task`;
  const keepMs = 5 * dayMs;
  const { name, from } = partitionAt(Date.now() + keepMs);
  await client.query('BEGIN');
  await client.query(`CREATE TABLE "${store.schema}".${name} (LIKE ${table} INCLUDING CONSTRAINTS)`);
  await client.query(
    `ALTER TABLE ${table} ATTACH PARTITION "${store.schema}".${name}
     FOR VALUES FROM ('${new Date(from).toISOString()}') TO ('${new Date(from + 2 * dayMs).toISOString()}')`,
  );
  const ended = end(keepMs);
  await waited(store.schema);
  await client.query('COMMIT');
  const id = await ended;
  expect(await places()).toEqual({ [id]: name });
});

it('goes on deleting rows, and says why, under a role that may not change the tables', async () => {
  const role = await freshRole();
  const schema = freshSchema();
  await openStore({ schema });
  const { addPartition, addFinished, tables, places, upkeep } = historyOf(schema);
  await sql(`GRANT USAGE ON SCHEMA "${schema}" TO ${role.name}`);
  await sql(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "${schema}" TO ${role.name}`);
  const { store, end } = await world({ schema, connection: role.url, migrations: 'check' });
  const gone = past();
  await addPartition(gone.name, gone);
  await addFinished(Date.now() - 1_000, gone.from);
  const before = await tables();
  const report = await prune(store, [dayMs]);
  expect(report).toMatchObject({ dropped: [], deleted: 1, unfinished: false });
  expect(report.weakened).toMatch(/may not make and drop partitions of .*finished_task.*ownership/);
  expect(await tables()).toEqual(before);
  const id = await end(dayMs);
  expect(await places()).toMatchObject({ [id]: 'finished_task_default' });
  // The other job is still to be had, for a process that may.
  expect(await upkeep()).toEqual([done('rows')]);
  expect(await prune(await openStore({ schema }), [dayMs])).toMatchObject({ dropped: [gone.name] });
  // One that keeps nothing for a time, and finds nothing to drop, misses nothing.
  expect(await prune(store)).not.toHaveProperty('weakened');
});

it('leaves the rows of a day in the default partition when they were there before its own could be made', async () => {
  const { store, end, places, tables } = await world();
  const id = await end(3 * dayMs);
  expect(await prune(store, [3 * dayMs])).toMatchObject({ unfinished: false });
  expect(await places()).toEqual({ [id]: 'finished_task_default' });
  // The days after it are made.
  expect((await tables()).length).toBeGreaterThan(always.length);
  expect(await store.find(id)).toMatchObject({ id });
});

it('keeps schemas apart', async () => {
  const [one, other] = [await world(), await world()];
  const gone = past();
  for (const { addPartition } of [one, other]) await addPartition(gone.name, gone);
  expect(await prune(one.store, [dayMs])).toMatchObject({ dropped: [gone.name] });
  expect(await other.tables()).toEqual([...always, gone.name].toSorted());
});

it('is undone with all its partitions when the migration is', async () => {
  const schema = freshSchema();
  const { addFinished, tables } = historyOf(schema);
  await prune(await openStore({ schema }), [dayMs]);
  await addFinished(Date.now() + dayMs, null);
  expect((await tables()).length).toBeGreaterThan(always.length);
  const dataSource = await openDataSource();
  const runner = dataSource.createQueryRunner();
  whenFinished(() => runner.release());
  for (const Migration of backieMigrations({ schema })) await new Migration().down(runner);
  expect(await tables()).toEqual([]);
});

it(
  'removes exactly what is over, at the latest a day later, whatever is kept for how long',
  { timeout: 120_000 },
  async () => {
    const { store, addPartition, addFinished, places, tables } = await world();
    const hours = fc.oneof(fc.integer({ min: -80, max: 80 }), fc.constantFrom(-1, 0));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.option(hours), { maxLength: 30 }),
        fc.uniqueArray(fc.integer({ min: -4, max: 4 }), { maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 100 }), { maxLength: 3 }),
        async (untils, days, keeps) => {
          // Some days stand, some do not.
          const there = await tables();
          for (const day of days) {
            const partition = partitionAt(Date.now() + day * dayMs);
            if (!there.includes(partition.name)) await addPartition(partition.name, partition).catch(() => {});
          }
          const times = untils.map((until) => (until === null ? null : Date.now() + until * 3_600_000 + 1_800_000));
          const ids = await addFinished(...times);
          const now = Date.now();
          await prune(
            store,
            keeps.map((keep) => keep * 3_600_000),
          );
          const left = await places();
          const midnight = partitionAt(now).from;
          for (const [i, id] of ids.entries()) {
            const until = times[i];
            if (until === null || until > Date.now()) expect(left, `until ${until}`).toHaveProperty(id);
            if (until !== null && until < midnight) expect(left, `until ${until}`).not.toHaveProperty(id);
          }
          await sql(`DELETE FROM "${store.schema}".finished_task; DELETE FROM "${store.schema}".upkeep`);
        },
      ),
      { numRuns: 25 },
    );
  },
);

/** Resolves when a statement waits for a lock on a table of the schema. */
async function waited(schema: string): Promise<void> {
  for (;;) {
    const waiting = await sql(
      `SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
       WHERE NOT l.granted AND c.relnamespace = $1::regnamespace`,
      [`"${schema}"`],
    );
    if (waiting.length > 0) return;
  }
}
