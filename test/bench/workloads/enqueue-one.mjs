/** W1: one task a call, always so many calls under way, nobody works meanwhile. */
export default {
  id: 'W1',
  about: 'Enqueue one by one, with 10 and with 100 calls under way; no worker runs.',
  adapters: ['backie', 'graphile', 'pgboss', 'pgboss-tuned', 'bullmq-pg', 'bullmq-redis', 'ceiling'],
  times: 2,
  cases: ({ quick, scale }) =>
    [10, 100].map((inFlight) => ({
      id: `W1.${inFlight}`,
      rows: [{ id: `W1.${inFlight}`, title: `W1 enqueue one by one, ${inFlight} in flight`, unit: 'tasks/s' }],
      inFlight,
      ms: (quick ? 2_000 : 5_000) * Math.max(scale, 0.1),
      warmUpMs: quick ? 500 : 1_000,
      most: 1_000_000,
    })),

  async measure(session, { id, inFlight, ms, warmUpMs, most }) {
    const producer = await session.producer({ total: 0 });
    const meter = session.meter(producer);
    await meter.start();
    const { enqueued, perSecond } = await producer.call('enqueueFor', { inFlight, ms, warmUpMs, most });
    await meter.stop(enqueued);
    await session.retire(producer);
    await session.verify([], enqueued);
    return { [id]: perSecond };
  },
};
