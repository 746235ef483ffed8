import type { Fault } from '../harness/fault.js';

const replies = 12;

/** The server commits, and nobody hears of it. */
function replyLost(statement: 'enqueue' | 'claim' | 'settle', check: Partial<Fault> = {}): Fault {
  return {
    name: `reply-lost-${statement}`,
    shows: `the reply to ${replies} commits of ${statement} is lost, and their connections with it`,
    async run(harness) {
      await harness.startWorkers();
      const lost = harness.proxy.loseReplies(new RegExp(`backie_\\w*${statement}`, 'i'), replies);
      await harness.load({ overMs: 8_000 });
      await harness.loaded;
      harness.expect(lost() > 0, `No reply to ${statement} was lost: is the statement still called so?`);
      harness.note(`${lost()} replies lost`);
    },
    ...check,
  };
}

export const enqueueReplyLost = replyLost('enqueue');
export const claimReplyLost = replyLost('claim');
export const settleReplyLost = replyLost('settle');
