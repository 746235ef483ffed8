import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
// The statements are nobody's API: they are explained here as they were built.
import { dayMs, partitionAt } from '../../../dist/typeorm/partitions.js';
import { statementTexts } from '../../../dist/typeorm/statements.js';
import { shared } from '../../support/app.js';
import { buffersOf, explain, explainAndRollBack, nodesOf, shapeOf } from '../../support/explain.js';
import { explainingServer } from '../../support/explaining-server.js';

/** What is read of a history of 100,000 tasks in a hundred partitions, by sessions that are set as the engine's are. */
const texts = statementTexts('backie');
const partitions = 100;
const tasks = 100_000;
/** Beside 100 that a worker holds: so many that are ready, with ids that come after those of the history. */
const ready = 20_000;
const workerId = randomUUID();
/** The last so many of the history are dead letters, and nothing else in it is. */
const letters = 200;
const idAt = (place: number) => `00000000-0000-7000-8000-${place.toString(16).padStart(12, '0')}`;

const server = shared(() => explainingServer({ shared_buffers: '512MB' }));

/**
 * Measured on PostgreSQL 18: find 208, listNewestFirst 319 and far back 306, listOldestFirst 315 and far on 306, pickLive
 * 14, pickFinished 311, pickDead 206 and far on 195, remove 208, retry 212, settleKept 750 (its tasks go to 51 partitions), pruneFinished 604. The
 * bounds are about a fifth more.
 */
const cases: { name: keyof typeof texts; where?: string; values: readonly unknown[]; most: number }[] = [
  { name: 'find', values: [idAt(77_777)], most: 250 },
  { name: 'listNewestFirst', values: [100, null, null, null, null, null], most: 385 },
  { name: 'listOldestFirst', values: [100, null, null, null, null, null], most: 385 },
  { name: 'listNewestFirst', where: ' far back', values: [100, idAt(10_000), null, null, null, null], most: 370 },
  { name: 'listOldestFirst', where: ' far on', values: [100, idAt(90_000), null, null, null, null], most: 370 },
  {
    name: 'pickLive',
    where: ' far on',
    values: [500, idAt(tasks + 15_000), null, null, ['ready'], null, 1e13],
    most: 17,
  },
  {
    name: 'pickFinished',
    where: ' far on',
    values: [500, idAt(90_000), null, null, ['failed'], null, 1e13, false, null],
    most: 375,
  },
  { name: 'pickDead', values: [500, null, 'dead', null, ['failed'], null, 1e13, null], most: 250 },
  {
    name: 'pickDead',
    where: ' far on',
    values: [500, idAt(tasks - 10), 'dead', null, ['failed'], null, 1e13, null],
    most: 235,
  },
  { name: 'remove', values: [idAt(77_777)], most: 250 },
  { name: 'retry', values: [idAt(77_777)], most: 260 },
  {
    name: 'settleKept',
    values: [
      workerId,
      Array.from({ length: 100 }, (_, i) => idAt(tasks + 1 + i)),
      Array.from({ length: 100 }, () => 'q'),
      Array.from({ length: 100 }, () => '1'),
      Array.from({ length: 100 }, (_, i) => (i % 2 ? 'Infinity' : `${i * dayMs + 1}`)),
      Array.from({ length: 100 }, () => null),
    ],
    most: 900,
  },
  { name: 'pruneFinished', values: [100], most: 725 },
];

describe('a history in a hundred partitions', () => {
  beforeAll(async () => {
    const { client, engine } = server();
    for (let day = 0; day < partitions; day++) {
      const { name, from, to } = partitionAt(Date.now() + day * dayMs);
      await client.query(
        `CREATE TABLE backie.${name} PARTITION OF backie.finished_task
         FOR VALUES FROM ('${new Date(from).toISOString()}') TO ('${new Date(to).toISOString()}')`,
      );
    }
    await client.query(
      `INSERT INTO backie.finished_task (id, queue, name, state, priority, scheduled_at, claim_seq, attempt, retries,
         crashes, created_at, kept_until, payload, attempts)
       SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'q', 'work', 'failed', 0, now(), 1, 1, 0, 0,
         now(), CASE WHEN i % 50 = 0 THEN 'infinity' WHEN i % 50 = 1 THEN now() - interval '40 days'
         ELSE now() + (i % 2300) * interval '1 hour' END, '{}', '[]'
       FROM generate_series(1, ${tasks}) i`,
    );
    await client.query(
      `UPDATE backie.finished_task SET queue = 'dead', dead_from = 'q' WHERE id > '${idAt(tasks - letters)}'`,
    );
    await client.query(
      `INSERT INTO backie.task (id, queue, name, payload, worker_id, claim_seq, attempt)
       SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'q', 'work', '{}', '${workerId}', 1, 1
       FROM generate_series(${tasks + 1}, ${tasks + 100}) i`,
    );
    await client.query(
      `INSERT INTO backie.task (id, queue, name, payload)
       SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'q', 'work', '{}'
       FROM generate_series(${tasks + 101}, ${tasks + 100 + ready}) i`,
    );
    for (const name of new Set(cases.map((one) => one.name))) await engine.query(`PREPARE "${name}" AS ${texts[name]}`);
  });

  const titled = cases.map(({ where = '', ...one }) => ({ ...one, title: one.name + where }));

  it.each(titled)('$title reads no more than it needs, by keys in their order', async ({ name, values, most }) => {
    const plan = await explainAndRollBack(server().engine, `"${name}"`, values);
    const nodes = nodesOf(plan).filter((node) => (node['Actual Loops'] ?? 0) > 0);
    const read = nodes.filter((node) => /^(finished_)?task/.test(node['Relation Name'] ?? ''));
    expect(read.filter((node) => node['Node Type'] === 'Seq Scan')).toEqual([]);
    for (const node of nodes.filter((one) => one['Node Type'].includes('Sort'))) {
      expect(node['Actual Rows']! * node['Actual Loops']!).toBeLessThanOrEqual(1_000);
    }
    expect(buffersOf(plan)).toBeLessThanOrEqual(most);
  });

  it.each([
    ['when they are known', 'ANALYZE backie.finished_task'],
    ['when it was empty', 'TRUNCATE backie.finished_task; ANALYZE backie.finished_task'],
  ])('finds dead letters by their own index, %s', async (_title, change) => {
    const { client, engine } = server();
    await client.query(change);
    await engine.query('DISCARD PLANS');
    const shape = shapeOf(await explain(engine, '"pickDead"', [500, null, 'dead', null, ['failed'], null, 1e13, null]));
    expect(shape.filter((line) => line.includes('Sort'))).toEqual([]);
    const scans = shape.filter((line) => line.includes('Scan'));
    expect(scans.length).toBeGreaterThanOrEqual(partitions);
    expect(scans.filter((line) => !line.includes('_queue_id_idx'))).toEqual([]);
  });
});
