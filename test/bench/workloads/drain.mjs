import { variants } from '../adapters/index.mjs';

/**
 * W3: one process drains a backlog. The clock runs from when the worker has started, thus from its first claim, to
 * the last handler's end: connecting does not count here, and the first batch does.
 */
export default {
  id: 'W3',
  about: 'One process drains a backlog of 20,000 and of 100,000: default and tuned peers, nestjs-backie by default.',
  adapters: Object.keys(variants),
  times: 2,
  cases: ({ quick, scale }) =>
    [20_000, ...(quick ? [] : [100_000])].map((size) => {
      const id = `W3.${size / 1000}k`;
      return {
        id,
        rows: [{ id, title: `W3 drain ${size.toLocaleString('en')}, one process`, unit: 'tasks/s' }],
        tasks: Math.round(size * scale),
        // Settings that need half a minute and more for what the others do in seconds.
        without: [
          ...(quick || size > 20_000 ? ['pgboss', 'bullmq-pg-tuned'] : []),
          ...(size > 20_000 ? ['graphile', 'bullmq-pg'] : []),
        ],
      };
    }),

  async measure(session, { id, tasks }) {
    const producer = await session.producer({ total: 0 });
    await producer.call('enqueueAll', { count: tasks });
    await session.retire(producer);
    return { [id]: await drainRate(session, tasks, tasks) };
  },
};

/**
 * Lets one fresh process work until `count` tasks are done.
 *
 * @param {import('../harness/session.mjs').Session} session
 * @param {number} count
 * @param {number} total How many tasks were enqueued.
 * @returns {Promise<number>} Tasks a second.
 */
export async function drainRate(session, count, total) {
  const { fromStart } = await drainRates(session, { count, total });
  await session.verify([], total);
  return fromStart;
}

/**
 * Lets fresh processes that start together work until `warmUp + count` tasks are done, and ends them. To be followed by
 * the session's `verify`.
 *
 * @param {import('../harness/session.mjs').Session} session
 * @param {{ processes?: number, count: number, warmUp?: number, total: number, row?: string }} sizes `total` is how many
 *   tasks were enqueued; `row`, of several, is the one whose cost this is.
 * @returns {Promise<{ fromStart: number, warm: number, left: number }>} Tasks a second: the first `count` of them, and the
 *   `count` after the first `warmUp`; and how many tasks are left.
 */
export async function drainRates(session, { processes = 1, count, warmUp = 0, total, row }) {
  const workers = await Promise.all(Array.from({ length: processes }, () => session.worker({ total })));
  const meter = session.meter(...workers);
  await meter.start();
  await Promise.all(workers.map((worker) => worker.call('start')));
  const { from, done } = await session.ended(workers, warmUp + count);
  await meter.stop(done, row);
  const endings = await session.endings(workers);
  const left = await session.collect(workers, total);
  const perSecond = (/** @type {number} */ begun, /** @type {number} */ ended) => (count / (ended - begun)) * 1000;
  return {
    fromStart: perSecond(from, endings[count - 1]),
    warm: perSecond(warmUp > 0 ? endings[warmUp - 1] : from, endings[warmUp + count - 1]),
    left,
  };
}
