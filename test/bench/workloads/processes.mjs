import { tuned } from '../adapters/index.mjs';

/** W6: the same backlog, drained by more processes than there are cores. */
export default {
  id: 'W6',
  about: 'Drain 50,000 with 1, 2 and 4 processes that start together.',
  adapters: tuned,
  cases: ({ scale }) =>
    [1, 2, 4].map((processes) => ({
      id: `W6.${processes}`,
      rows: [{ id: `W6.${processes}`, title: `W6 drain 50,000, ${processes} process(es)`, unit: 'tasks/s' }],
      processes,
      tasks: Math.round(50_000 * scale),
      without: processes > 1 ? ['bullmq-pg-tuned'] : [],
    })),

  async measure(session, { id, processes, tasks }) {
    const producer = await session.producer({ total: 0 });
    await producer.call('enqueueAll', { count: tasks });
    await session.retire(producer);
    const workers = await Promise.all(Array.from({ length: processes }, () => session.worker({ total: tasks })));
    const meter = session.meter(...workers);
    await meter.start();
    await Promise.all(workers.map((worker) => worker.call('start')));
    const { ms } = await session.ended(workers, tasks);
    await meter.stop(tasks);
    await session.verify(workers, tasks);
    return { [id]: (tasks / ms) * 1000 };
  },
};
