import { tuned } from '../adapters/index.mjs';
import { drainRates } from './drain.mjs';

/**
 * W6: the same backlog, drained by more processes than there are cores. Each fresh process spends a quarter of a second
 * of CPU on compiling itself, which has nothing to do with how they get along: so some tasks go before those that
 * count, and the rate from the start is told beside.
 */
export default {
  id: 'W6',
  about: 'Drain 50,000, after 10,000 that warm up, with 1, 2 and 4 processes that start together.',
  adapters: tuned,
  cases: ({ scale }) =>
    [1, 2, 4].map((processes) => ({
      id: `W6.${processes}`,
      rows: [
        { id: `W6.${processes}`, title: `W6 drain 50,000, ${processes} process(es)`, unit: 'tasks/s' },
        { id: `W6.${processes}.start`, title: `W6 the same from their start`, unit: 'tasks/s' },
      ],
      processes,
      warmUp: Math.round(10_000 * scale),
      count: Math.round(50_000 * scale),
      without: processes > 1 ? ['bullmq-pg-tuned'] : [],
    })),

  async measure(session, { id, processes, warmUp, count }) {
    const total = warmUp + count;
    const producer = await session.producer({ total: 0 });
    await producer.call('enqueueAll', { count: total });
    await session.retire(producer);
    const { warm, fromStart } = await drainRates(session, { processes, count, warmUp, total });
    await session.verify([], total);
    return { [id]: warm, [`${id}.start`]: fromStart };
  },
};
