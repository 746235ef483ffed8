import type { Work } from '../harness/app.protocol.js';
import type { Fault } from '../harness/fault.js';
import { until } from '../harness/polling.js';

const concurrency = 10;
const quick: Work = { do: 'wait', ms: 5 };

/** Every 400th task ends its process in its first attempt. */
function deadly(what: 'exit' | 'kill'): Fault {
  return {
    name: `${what}-in-handler`,
    shows: `handlers end their process by ${what === 'exit' ? 'process.exit' : 'SIGKILL'}`,
    async run(harness) {
      const works = Array.from({ length: 400 }, (_, i): Work => (i === 200 ? { do: what, ms: 5 } : quick));
      await harness.begin({ works, overMs: 8_000 }, { concurrency });
      const kept = harness.keepWorkers(4, { concurrency });
      await harness.loaded;
      await harness.executions(harness.usualTasks);
      await harness.last(harness.leaseMs);
      await kept.stop();
      harness.note(`${kept.deaths} processes died`);
      harness.expected.cutOff = kept.deaths * concurrency;
    },
  };
}

export const exitInHandler = deadly('exit');
export const killInHandler = deadly('kill');

export const poison: Fault = {
  name: 'poison',
  shows: 'a task that kills its process in every attempt is quarantined, and its neighbours are done',
  async run(harness) {
    const settings = { concurrency, maxCrashes: 3 };
    await harness.begin({ overMs: 8_000 }, settings);
    const producer = await harness.load({ tasks: 1, works: [{ do: 'alwaysKill', ms: 100 }], overMs: 0 });
    const kept = harness.keepWorkers(4, settings);
    await harness.loaded;
    harness.expected.states = ['done', 'failed'];
    const [id] = producer.acknowledged;
    for (let state = ''; state !== 'failed'; await harness.last(100)) {
      const rows = await harness.sql<{ state: string }>('SELECT state FROM backie.finished_task WHERE id = $1', [id]);
      state = rows[0]?.state ?? '';
    }
    await kept.stop();
    const failed = await harness.sql('SELECT id FROM backie.finished_task WHERE state = $1', ['failed']);
    harness.expect(failed.length === 1, `${failed.length} tasks were quarantined, not only the one that kills.`);
    // One that had only been claimed ahead when its process died may not have started: then the next crash counts. So
    // each execution is a death, three of them are crashes to its name, and no two follow each other that are not.
    const [killer] = await harness.sql<{ crashes: number }>('SELECT crashes FROM backie.finished_task WHERE id = $1', [
      id,
    ]);
    const executions = (await harness.ledger.rows()).filter((row) => row.task_id === id).length;
    harness.expect(killer.crashes === 3, `The killer has ${killer.crashes} crashes to its name, not 3.`);
    harness.expect(kept.deaths === executions, `${kept.deaths} processes died of ${executions} executions.`);
    harness.expect(kept.deaths <= 6, `${kept.deaths} processes died for 3 crashes.`);
    harness.expected.cutOff = kept.deaths * concurrency;
  },
};

export const poisonCrowd: Fault = {
  name: 'poison-crowd',
  shows: 'a task that kills its process in every attempt beside nine long ones is quarantined alone',
  async run(harness) {
    const settings = { concurrency, maxCrashes: 3 };
    // One process at a time: those that died together are claimed together, and none ends before the next death.
    await harness.startWorkers(1, settings);
    const kept = harness.keepWorkers(1, settings);
    const neighbours = concurrency - 1;
    const producer = await harness.load({ tasks: 1, works: [{ do: 'alwaysKill', ms: 500 }], overMs: 0 });
    await harness.loaded;
    await harness.load({ tasks: neighbours, works: [{ do: 'wait', ms: 2_500 }], overMs: 0 }, producer);
    await harness.loaded;
    harness.expected.states = ['done', 'failed'];
    await until(
      'the last outcome',
      () => harness.live(),
      (live) => live === 0,
      90_000,
    );
    await kept.stop();
    const ends = await harness.sql<{ state: string; work: string; count: number; crashes: number }>(
      `SELECT state, payload->>'do' AS work, count(*)::int, max(crashes) AS crashes FROM backie.finished_task
       GROUP BY 1, 2`,
    );
    const ended = ends.map(({ state, work, count }) => `${count} ${work} ${state}`).toSorted();
    harness.expect(
      ended.join(', ') === `1 alwaysKill failed, ${neighbours} wait done`,
      `The tasks ended so: ${ended.join(', ')}.`,
    );
    harness.note(
      `neighbours were there at ${ends.find(({ work }) => work === 'wait')?.crashes} of ${kept.deaths} deaths`,
    );
    // Long ones are never claimed ahead.
    harness.expect(kept.deaths === 3, `${kept.deaths} processes died, not 3.`);
    harness.expected.cutOff = 3 * concurrency;
  },
};
