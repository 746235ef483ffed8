import { tuned } from '../adapters/index.mjs';
import { drainRates } from './drain.mjs';

/**
 * W5: what lies behind the tasks that are worked on must not slow them down, whether it is due or not. 10,000 take a fast
 * queue a fifth of a second, and half of that a fresh process spends on compiling itself: so some go before them, and
 * the rate with those is told beside.
 */
export default {
  id: 'W5',
  about:
    'The first 10,000 of a backlog after 2,000 that warm the process up, with 1,000, 100,000 and 1,000,000 behind them, ' +
    'and 1,000,000 due in an hour.',
  adapters: tuned,
  cases: ({ scale }) =>
    [
      ['1k', 1_000, 0],
      ['100k', 100_000, 0],
      ['1M', 1_000_000, 0],
      ['future', 1_000_000, 3_600_000],
    ].map(([name, behind, delayMs]) => ({
      id: `W5.${name}`,
      rows: [
        {
          id: `W5.${name}`,
          title: `W5 first 10,000, ${delayMs ? '1M due in an hour' : `${name} behind`}`,
          unit: 'tasks/s',
        },
        {
          id: `W5.${name}.start`,
          title: `W5 the same from the start of the process`,
          unit: 'tasks/s',
        },
      ],
      warmUp: Math.round(2_000 * scale),
      count: Math.round(10_000 * scale),
      behind: Math.round(Number(behind) * scale),
      delayMs,
    })),

  async measure(session, { id, warmUp, count, behind, delayMs }) {
    const first = warmUp + count;
    const producer = await session.producer({ total: 0 });
    // What is due later is enqueued first, so that it does not lie behind the others on disk too.
    if (delayMs) await producer.call('enqueueAll', { from: first, count: behind, delayMs });
    await producer.call('enqueueAll', { from: 0, count: first });
    if (!delayMs) await producer.call('enqueueAll', { from: first, count: behind });
    await session.retire(producer);
    await session.settle();
    const { warm, fromStart } = await drainRates(session, { count, warmUp, total: first + behind });
    return { [id]: warm, [`${id}.start`]: fromStart };
  },
};
