import { variants } from '../adapters/index.mjs';

/**
 * W3: one process drains a backlog. The clock runs from when the worker has started, thus from its first claim, to
 * the last handler's end: connecting does not count here, and the first batch does.
 */
export default {
  id: 'W3',
  about: 'One process drains a backlog of 20,000 and of 100,000: default and tuned peers, nestjs-backie by default.',
  adapters: Object.keys(variants),
  cases: ({ quick, scale }) =>
    [20_000, ...(quick ? [] : [100_000])].map((size) => {
      const id = `W3.${size / 1000}k`;
      return {
        id,
        rows: [{ id, title: `W3 drain ${size.toLocaleString('en')}, one process`, unit: 'tasks/s' }],
        tasks: Math.round(size * scale),
        // Defaults that need a minute and more for what the others do in seconds.
        without: quick || size > 20_000 ? ['pgboss', 'bullmq-pg-tuned'] : [],
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
  const worker = await session.worker({ total });
  const meter = session.meter(worker);
  await meter.start();
  await worker.call('start');
  const { from, done } = await session.ended([worker], count);
  await meter.stop(done);
  const to = await worker.call('endedAt', { count });
  await session.verify([worker], total);
  return (count / (to - from)) * 1000;
}
