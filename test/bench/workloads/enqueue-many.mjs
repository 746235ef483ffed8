/** W2: 1,000 tasks a call, one call after the other. */
export default {
  id: 'W2',
  about: 'Enqueue 100,000 in calls of 1,000, one call after the other; no worker runs.',
  adapters: ['backie', 'graphile', 'pgboss', 'bullmq-pg', 'bullmq-redis', 'ceiling'],
  times: 6,
  cases: ({ quick, scale }) => [
    {
      id: 'W2',
      rows: [{ id: 'W2', title: 'W2 enqueue in batches of 1,000', unit: 'tasks/s' }],
      tasks: Math.round((quick ? 50_000 : 100_000) * scale),
    },
  ],

  async measure(session, { tasks }) {
    const producer = await session.producer({ total: 0 });
    const meter = session.meter(producer);
    await meter.start();
    const { ms } = await producer.call('enqueueAll', { count: tasks });
    await meter.stop(tasks);
    await session.retire(producer);
    await session.verify([], tasks);
    return { W2: (tasks / ms) * 1000 };
  },
};
