import { measureLatency } from './latency.mjs';

/**
 * W10: another session holds a snapshot, so that nothing which dies can be removed, while 100,000 tasks pass through.
 * Rate and latency of one and the same process before and after, and the other session still holds on.
 */
export default {
  id: 'W10',
  about: 'Rate and latency after 100,000 tasks passed while another session holds a snapshot, beside those before.',
  adapters: ['backie', 'graphile-tuned', 'pgboss-tuned', 'ceiling'],
  times: 3,
  cases: ({ scale }) => [
    {
      id: 'W10',
      rows: [
        { id: 'W10.rateBefore', title: 'W10 pass 20,000, before', unit: 'tasks/s' },
        { id: 'W10.rateAfter', title: 'W10 pass 20,000, after', unit: 'tasks/s' },
        { id: 'W10.p50Before', title: 'W10 enqueue → start, before, p50', unit: 'ms' },
        { id: 'W10.p50After', title: 'W10 enqueue → start, after, p50', unit: 'ms' },
        { id: 'W10.p99Before', title: 'W10 enqueue → start, before, p99', unit: 'ms' },
        { id: 'W10.p99After', title: 'W10 enqueue → start, after, p99', unit: 'ms' },
      ],
      probe: Math.round(20_000 * scale),
      held: Math.round(100_000 * scale),
      samples: Math.max(20, Math.round(300 * scale)),
    },
  ],

  async measure(session, { probe, held, samples }) {
    const total = 3 * probe + held + 2 * (samples + 50);
    const agent = await session.agent();
    await agent.call('setup');
    await agent.call('open', { total, work: true });
    await agent.call('start');
    let from = 0;
    const pass = async (/** @type {number} */ count) => {
      const { ms } = await agent.call('pass', { from, count });
      from += count;
      return (count / ms) * 1000;
    };
    const wait = async () => {
      const { p50, p99, count } = await measureLatency(session, { producer: agent, worker: agent, from, samples });
      from += count;
      return { p50, p99 };
    };

    const meter = session.meter(agent);
    await meter.start();
    await pass(probe);
    const rateBefore = await pass(probe);
    const before = await wait();
    const holder = await session.connect();
    await holder.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await holder.query('SELECT count(*) FROM pg_class');
    await pass(held);
    const rateAfter = await pass(probe);
    const after = await wait();
    await meter.stop(from);
    await holder.end();
    await session.verify([agent], from);
    return {
      'W10.rateBefore': rateBefore,
      'W10.rateAfter': rateAfter,
      'W10.p50Before': before.p50,
      'W10.p50After': after.p50,
      'W10.p99Before': before.p99,
      'W10.p99After': after.p99,
    };
  },
};
