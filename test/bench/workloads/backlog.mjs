import { tuned } from '../adapters/index.mjs';
import { drainRates } from './drain.mjs';

const hourMs = 3_600_000;
/** How many processes take the first tasks of each backlog: as many as there is time for, less for those without a target. */
const looks = { least: 3, most: 15, forMs: 60_000, forPeersMs: 15_000 };

/**
 * W5: what lies behind the tasks that are worked on must not slow them down, whether it is due or not. 10,000 take a fast
 * queue a fifth of a second, and half of that a fresh process spends on compiling itself: so some go before them, and
 * the rate with those is told beside.
 *
 * So short a look says little by itself, and a machine's speed changes by the minute. So there are many looks, each by
 * another process, at one backlog after the other, over and over: each backlog has a database of its own. Redis has but
 * one, whose backlog grows.
 */
export default {
  id: 'W5',
  about:
    'The first 10,000 of a backlog after 2,000 that warm the process up, with 1,000, 100,000 and 1,000,000 behind them, ' +
    'and with 1,000,000 due in an hour beside none.',
  adapters: tuned,
  once: true,
  repeats: 'three to fifteen processes',
  cases: ({ scale }) =>
    [
      { id: 'W5.due', sizes: { '1k': 1_000, '100k': 100_000, '1M': 1_000_000 } },
      { id: 'W5.later', sizes: { none: 1_000, future: 1_000 } },
    ].map(({ id, sizes }) => ({
      id,
      rows: Object.keys(sizes).flatMap((name) => [
        { id: `W5.${name}`, title: `W5 first 10,000, ${titles[name] ?? `${name} behind`}`, unit: 'tasks/s' },
        { id: `W5.${name}.start`, title: 'W5 the same from the start of the process', unit: 'tasks/s' },
      ]),
      warmUp: Math.round(2_000 * scale),
      count: Math.round(10_000 * scale),
      later: Math.round(1_000_000 * scale),
      sizes: Object.entries(sizes).map(([name, size]) => ({ name, behind: Math.round(size * scale) })),
    })),

  async measure(session, { warmUp, count, later, sizes }) {
    const values = {};
    const look = async (
      /** @type {Backlog} */ backlog,
      /** @type {{ name: string, behind: number }} */ { name, behind },
    ) => {
      if (name === 'future' && backlog.later === 0) await backlog.add(later, hourMs);
      await backlog.add(warmUp + count + behind - backlog.due);
      await backlog.session.settle();
      const { total } = backlog;
      const { warm, fromStart, left } = await drainRates(backlog.session, { count, warmUp, total, row: `W5.${name}` });
      backlog.due = left - backlog.later;
      (values[`W5.${name}`] ??= []).push(warm);
      (values[`W5.${name}.start`] ??= []).push(fromStart);
    };
    const first = new Backlog(session);
    const backlogs = [first];
    if (session.onPostgres) {
      while (backlogs.length < sizes.length) backlogs.push(new Backlog(await session.another()));
      const until = Date.now() + (session.adapter.startsWith('backie') ? looks.forMs : looks.forPeersMs);
      for (let i = 0; i < looks.least || (i < looks.most && Date.now() < until); i++) {
        for (const [at, backlog] of backlogs.entries()) await look(backlog, sizes[at]);
      }
    } else for (const size of sizes) for (let i = 0; i < looks.least; i++) await look(first, size);
    for (const { session: each, total } of backlogs) await each.verify([], total);
    return values;
  },
};

class Backlog {
  total = 0;
  /** How many are left of those that are due, and of those that are not. */
  due = 0;
  later = 0;

  constructor(/** @type {import('../harness/session.mjs').Session} */ session) {
    this.session = session;
  }

  async add(/** @type {number} */ count, delayMs = 0) {
    const producer = await this.session.producer({ total: 0 });
    await producer.call('enqueueAll', { from: this.total, count, delayMs });
    await this.session.retire(producer);
    this.total += count;
    if (delayMs) this.later += count;
    else this.due += count;
  }
}

const titles = { none: '1k behind and nothing later', future: '1k behind and 1M due in an hour' };
