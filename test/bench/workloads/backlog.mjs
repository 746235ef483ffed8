import { percentile } from '../harness/statistics.mjs';
import { tuned } from '../adapters/index.mjs';
import { drainRates } from './drain.mjs';

const hourMs = 3_600_000;
const sizes = { '1k': 1_000, '100k': 100_000, '1M': 1_000_000, future: 1_000 };
/** How often the first tasks of a backlog are measured, by a fresh process each time: as often as there is time for. */
const looks = { least: 3, most: 7, forMs: 20_000 };

/**
 * W5: what lies behind the tasks that are worked on must not slow them down, whether it is due or not. 10,000 take a fast
 * queue a fifth of a second, and half of that a fresh process spends on compiling itself: so some go before them, and
 * the rate with those is told beside.
 *
 * One backlog grows from 1,000 to 1,000,000, and at each size several processes take the first tasks one after the other:
 * what is compared is measured within a minute or two, and so short that one look alone says little.
 */
export default {
  id: 'W5',
  about:
    'The first 10,000 of a backlog after 2,000 that warm the process up, with 1,000, 100,000 and 1,000,000 behind them, ' +
    'and 1,000,000 due in an hour.',
  adapters: tuned,
  once: true,
  cases: ({ scale }) =>
    [
      { id: 'W5', later: 0, backlogs: ['1k', '100k', '1M'] },
      { id: 'W5.future', later: 1_000_000, backlogs: ['future'] },
    ].map(({ id, later, backlogs }) => ({
      id,
      rows: backlogs.flatMap((name) => [
        {
          id: `W5.${name}`,
          title: `W5 first 10,000, ${later ? '1M due in an hour' : `${name} behind`}`,
          unit: 'tasks/s',
        },
        { id: `W5.${name}.start`, title: 'W5 the same from the start of the process', unit: 'tasks/s' },
      ]),
      warmUp: Math.round(2_000 * scale),
      count: Math.round(10_000 * scale),
      later: Math.round(later * scale),
      backlogs: backlogs.map((name) => ({ name, behind: Math.round(sizes[name] * scale) })),
    })),

  async measure(session, { warmUp, count, later, backlogs }) {
    let total = 0;
    let left = 0;
    const enqueue = async (/** @type {number} */ more, delayMs = 0) => {
      const producer = await session.producer({ total: 0 });
      await producer.call('enqueueAll', { from: total, count: more, delayMs });
      await session.retire(producer);
      total += more;
      left += more;
    };
    // What is due later comes first, so that it does not lie behind the others on disk too.
    if (later) await enqueue(later, hourMs);
    const values = {};
    for (const { name, behind } of backlogs) {
      const rates = [];
      const until = Date.now() + looks.forMs;
      while (rates.length < looks.least || (rates.length < looks.most && Date.now() < until)) {
        await enqueue(warmUp + count + behind + later - left);
        await session.settle();
        rates.push(await drainRates(session, { count, warmUp, total }));
        left = rates.at(-1).left;
      }
      const median = (/** @type {'warm' | 'fromStart'} */ key) =>
        percentile(
          rates.map((rate) => rate[key]),
          0.5,
        );
      values[`W5.${name}`] = median('warm');
      values[`W5.${name}.start`] = median('fromStart');
    }
    await session.verify([], total);
    return values;
  },
};
