import type { Fault } from '../harness/fault.js';
import type { Harness } from '../harness/harness.js';
import { until } from '../harness/polling.js';

const replies = 12;

/** The server commits, and nobody hears of it. */
function replyLost(statement: 'claim' | 'settle'): Fault {
  return {
    name: `reply-lost-${statement}`,
    shows: `the reply to ${replies} commits of ${statement} is lost, and their connections with it`,
    async run(harness) {
      await harness.startWorkers();
      const lost = loseReplies(harness, statement, replies);
      await harness.load({ overMs: 8_000 });
      await harness.loaded;
      harness.expect(lost() > 0, `No reply to ${statement} was lost: is the statement still called so?`);
      harness.note(`${lost()} replies lost`);
    },
  };
}

function loseReplies(harness: Harness, statement: string, count: number): () => number {
  return harness.proxy.loseReplies(new RegExp(`backie_\\w*${statement}`, 'i'), count);
}

export const claimReplyLost = replyLost('claim');
export const settleReplyLost = replyLost('settle');

/** So many at once that no call runs out of tries: what then has two rows was stored twice. */
const atOnce = 2;

export const enqueueReplyLost: Fault = {
  name: 'reply-lost-enqueue',
  shows: `the reply to commits of enqueue is lost, ${atOnce} at a time, and their connections with it; each is one task`,
  async run(harness) {
    await harness.startWorkers();
    const producer = await harness.load({ overMs: 8_000 });
    const load = { over: false };
    void harness.loaded.then(() => {
      load.over = true;
    });
    let total = 0;
    while (!load.over) {
      const lost = loseReplies(harness, 'enqueue', atOnce);
      await until(
        'lost replies',
        () => load.over || lost() === atOnce,
        (over) => over,
      );
      // One more than the pauses before two tries take.
      if (!load.over) await harness.last(700);
      total += lost();
    }
    await harness.loaded;
    harness.expect(total > 0, 'No reply to enqueue was lost: is the statement still called so?');
    harness.note(`${total} replies lost`);
    harness.expect(producer.unanswered === 0, `${producer.unanswered} calls gave up, though two tries were enough.`);
    await until(
      'the last outcome',
      () => harness.live(),
      (live) => live === 0,
      60_000,
    );
    const [{ count }] = await harness.sql<{ count: number }>('SELECT count(*)::int FROM backie.finished_task');
    harness.expect(count === harness.usualTasks, `${harness.usualTasks} enqueues gave ${count} tasks.`);
  },
};
