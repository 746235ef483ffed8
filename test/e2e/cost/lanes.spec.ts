import { randomUUID } from 'node:crypto';
import { beforeAll, expect, it } from 'vitest';
// The statements are nobody's API: they are explained here as they were built.
import { statementTexts } from '../../../dist/typeorm/statements.js';
import { shared } from '../../support/app.js';
import { buffersOf, explain, explainAndRollBack, nodesOf } from '../../support/explain.js';
import { explainingServer } from '../../support/explaining-server.js';

/** What tasks cost that wait for their concurrency key: by what statements read, never by how long they take. */
const parked = 100_000;
const workerId = randomUUID();
const claim = [workerId, 'default', ['work'], 10, 10, null, null, null, 2 ** 31 - 1, true];

const server = shared(() => explainingServer());

/** Parked tasks of a key, whose only place is held by one that runs. */
async function block(key: string, count: number): Promise<void> {
  const { client } = server();
  const columns = 'id, queue, name, payload, lane, lane_limit, scheduled_at, due_at, worker_id, claim_seq';
  await client.query(
    `INSERT INTO backie.task (${columns}) VALUES (gen_random_uuid(), 'default', 'work', '{}', $1, 1, now(), NULL, $2, 1)`,
    [key, randomUUID()],
  );
  await client.query(
    `INSERT INTO backie.task (${columns})
     SELECT gen_random_uuid(), 'default', 'work', '{}', $1, 1, 'infinity', now() - i * interval '1 ms', NULL, 0
     FROM generate_series(1, $2::int) i`,
    [key, count],
  );
}

beforeAll(async () => {
  const { client, engine } = server();
  await client.query(
    `INSERT INTO backie.worker (id, host, pid, version, queues, lease_until)
     VALUES ($1, 'here', 1, '1', '[]', now() + interval '1 hour')`,
    [workerId],
  );
  await client.query(
    `INSERT INTO backie.task (id, queue, name, payload, lane, lane_limit, scheduled_at)
     SELECT gen_random_uuid(), 'default', 'work', '{}', 'free ' || i, 1, now() FROM generate_series(1, 100) i`,
  );
  await client.query('VACUUM ANALYZE backie.task');
  const texts = statementTexts('backie');
  await engine.query(`PREPARE claim AS ${texts.claim}`);
  await engine.query(`PREPARE sweep AS ${texts.laneSweep}`);
  await engine.query(`PREPARE admit AS ${texts.laneAdmit}`);
});

it('lets a claim read no more behind 100,000 tasks of a blocked key than without them', async () => {
  const { engine } = server();
  const before = buffersOf(await explainAndRollBack(engine, 'claim', claim));
  await block('blocked', parked);
  const behind = buffersOf(await explainAndRollBack(engine, 'claim', claim));
  expect(behind).toBeLessThanOrEqual(before * 2);
  // Before it had its statistics, and after.
  await server().client.query('ANALYZE backie.task');
  expect(buffersOf(await explainAndRollBack(engine, 'claim', claim))).toBeLessThanOrEqual(before * 2);
});

it('admits to a blocked key, to another one and behind 100,000 of its own by a handful of reads', async () => {
  const { client, engine } = server();
  const admit = async (key: string) =>
    buffersOf(await explainAndRollBack(engine, 'admit', [['default'], ['work'], [key]]));
  // The first use of the function in a session makes its plans.
  await admit('blocked');
  expect(await admit('blocked')).toBeLessThanOrEqual(60);
  await block('small', 2);
  expect(await admit('small')).toBeLessThanOrEqual(60);
  await client.query(`DELETE FROM backie.task WHERE lane IN ('small', 'blocked') AND worker_id IS NOT NULL`);
  expect(await admit('small')).toBeLessThanOrEqual(120);
  expect(await admit('blocked')).toBeLessThanOrEqual(120);
});

it('sweeps from lane to lane by the index, whatever waits in each', async () => {
  const plan = await explain(server().engine, 'sweep', ['', '', '', 1_000]);
  const scans = nodesOf(plan).filter((node) => node['Relation Name'] === 'task');
  expect(new Set(scans.map((node) => node['Index Name']))).toEqual(new Set(['task_parked', 'task_admitted']));
  expect(buffersOf(await explainAndRollBack(server().engine, 'sweep', ['', '', '', 1_000]))).toBeLessThanOrEqual(60);
});

it('admits to a wide key by so many reads a task and call, however many wait', async () => {
  const { client, engine } = server();
  await block('wide', 10_000);
  await client.query(`UPDATE backie.task SET lane_limit = 100000 WHERE lane = 'wide'`);
  const reads = buffersOf(await explainAndRollBack(engine, 'admit', [['default'], ['work'], ['wide']]));
  expect(reads).toBeLessThanOrEqual(500 * 40);
});
