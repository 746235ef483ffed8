import { tuned } from '../adapters/index.mjs';
import { drainRate } from './drain.mjs';

/** W12: the planner believes that every table is empty, and 100,000 tasks come. */
export default {
  id: 'W12',
  about: 'Drain 100,000 after VACUUM ANALYZE on the empty tables.',
  adapters: tuned.filter((name) => !name.startsWith('bullmq')),
  times: 2,
  cases: ({ scale }) => [
    {
      id: 'W12',
      rows: [{ id: 'W12', title: 'W12 drain 100,000, statistics of empty tables', unit: 'tasks/s' }],
      tasks: Math.round(100_000 * scale),
    },
  ],

  async measure(session, { tasks }) {
    const producer = await session.producer({ total: 0 });
    const client = await session.connect();
    await client.query('VACUUM ANALYZE');
    await client.end();
    await producer.call('enqueueAll', { count: tasks });
    await session.retire(producer);
    return { W12: await drainRate(session, tasks, tasks) };
  },
};
