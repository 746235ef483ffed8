import type { Fault } from '../harness/fault.js';
import { until } from '../harness/polling.js';

const concurrency = 10;
/** The driver sends it as a simple query, with its length before it. */
const commit = /Q[^]{4}COMMIT\0/;

interface Effects {
  readonly effects: number;
  readonly transfers: number;
  readonly tasks: number;
  readonly stale: number;
  readonly followUps: number;
  readonly strays: number;
}

export const transactional: Fault = {
  name: 'transactional',
  shows:
    'processes are killed, sessions terminated and replies to COMMIT lost, while transactional tasks write and enqueue; each has its effects once',
  async run(harness) {
    await harness.sql('CREATE TABLE effect (task_id uuid, token bigint, follow_up uuid)');
    await harness.sql('GRANT INSERT ON effect TO app');
    harness.expected.transactionConnections = concurrency;
    const works = [20, 40, 60].map((ms) => ({ do: 'wait' as const, ms }));
    const troubles = harness.scaled(30);
    let sessions = 0;
    let replies = 0;
    await harness.begin({ works, overMs: 20_000, task: 'transfer' }, { concurrency });
    for (let trouble = 1; trouble <= troubles; trouble++) {
      // Two executions a task: its own and that of its follow-up.
      await harness.executions((trouble * harness.usualTasks * 1.9) / troubles, 60_000);
      if (trouble % 3 === 0) sessions += await harness.terminateBackends(`state LIKE 'idle in transaction%'`);
      else if (trouble % 3 === 1) {
        const lost = harness.proxy.loseReplies(commit, 5);
        await until('a lost reply', lost, (count) => count > 0).catch(() => {});
        replies += lost();
      } else {
        const victim = await harness.anyWorker();
        await victim.kill();
        harness.spawn({ concurrency });
      }
      if (trouble % 5 === 0) harness.progress(`${trouble} troubles`);
    }
    harness.note(`${sessions} sessions terminated, ${replies} replies to COMMIT lost`);
    harness.expect(sessions > 0 && replies > 0, 'No session was terminated in a transaction, or no reply lost.');
    await harness.loaded;
    await until(
      'the last outcome',
      () => harness.live(),
      (live) => live === 0,
      60_000,
    );
    const [found] = await harness.sql<Effects>(`
      SELECT (SELECT count(*)::int FROM effect) AS effects,
        (SELECT count(DISTINCT task_id)::int FROM effect) AS tasks,
        (SELECT count(*)::int FROM backie.finished_task WHERE name = 'transfer') AS transfers,
        (SELECT count(*)::int FROM effect e JOIN backie.finished_task f ON f.id = e.task_id
         WHERE f.claim_seq <> e.token OR f.state <> 'done') AS stale,
        (SELECT count(*)::int FROM backie.finished_task WHERE name = 'work') AS "followUps",
        (SELECT count(*)::int FROM backie.finished_task w WHERE w.name = 'work'
         AND NOT EXISTS (SELECT FROM effect e WHERE e.follow_up = w.id)) AS strays`);
    const { transfers } = found;
    // A load whose enqueue got no answer may have been stored twice; each is a task of its own then.
    const wanted: Effects = {
      effects: transfers,
      tasks: transfers,
      transfers,
      stale: 0,
      followUps: transfers,
      strays: 0,
    };
    harness.expect(transfers >= harness.usualTasks, `${harness.usualTasks} tasks were enqueued, ${transfers} ended.`);
    harness.expect(
      JSON.stringify({ ...wanted, ...found }) === JSON.stringify(wanted),
      `Not each of ${transfers} tasks had its effects once: ${JSON.stringify(found)}`,
    );
    harness.note(`${found.effects} effects and ${found.followUps} follow-ups of ${transfers} tasks`);
  },
};
