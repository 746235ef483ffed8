import { tuned } from '../adapters/index.mjs';
import { drainRate } from './drain.mjs';

/** W12: the planner believes that every table is empty, and 100,000 tasks come. Beside it W3 once more. */
export default {
  id: 'W12',
  about: 'Drain 100,000 after VACUUM ANALYZE on the empty tables, and without that.',
  adapters: tuned.filter((name) => !name.startsWith('bullmq')),
  times: 4,
  cases: ({ scale }) => [
    {
      id: 'W12',
      rows: [
        { id: 'W12.without', title: 'W12 drain 100,000, no statistics', unit: 'tasks/s' },
        { id: 'W12.with', title: 'W12 drain 100,000, statistics of empty tables', unit: 'tasks/s' },
      ],
      tasks: Math.round(100_000 * scale),
    },
  ],

  async measure(session, { tasks }) {
    const values = {};
    // One after the other, since a machine's speed changes by the minute.
    for (const row of ['W12.without', 'W12.with']) {
      const each = await session.another();
      const producer = await each.producer({ total: 0 });
      if (row === 'W12.with') {
        const client = await each.connect();
        await client.query('VACUUM ANALYZE');
        await client.end();
      }
      await producer.call('enqueueAll', { count: tasks });
      await each.retire(producer);
      values[row] = await drainRate(each, tasks, tasks);
    }
    return values;
  },
};
