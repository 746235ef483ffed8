/**
 * W8: how large the tables and indexes are after tasks have passed through. They flow through one process, at most 5,000
 * enqueued and not yet handled.
 */
export default {
  id: 'W8',
  about: 'Size of all tables and indexes after 100,000 and after 1,000,000 tasks have passed through.',
  adapters: ['backie', 'graphile-tuned', 'pgboss-tuned', 'ceiling'],
  once: true,
  cases: ({ scale }) => [
    {
      id: 'W8',
      rows: [
        { id: 'W8.100k', title: 'W8 tables and indexes after 100,000', unit: 'MB' },
        { id: 'W8.1M', title: 'W8 tables and indexes after 1,000,000', unit: 'MB' },
      ],
      sizes: [100_000, 1_000_000].map((size) => Math.round(size * scale)),
    },
  ],

  async measure(session, { sizes }) {
    const total = sizes[1];
    const agent = await session.agent();
    await agent.call('setup');
    await agent.call('open', { total, work: true });
    await agent.call('start');
    const client = await session.connect();
    const megabytes = [];
    const meter = session.meter(agent);
    await meter.start();
    let from = 0;
    for (const size of sizes) {
      await agent.call('pass', { from, count: size - from });
      from = size;
      const { rows } = await client.query(`
        SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8 / 1048576 AS mb
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')`);
      megabytes.push(rows[0].mb);
    }
    await meter.stop(total);
    await client.end();
    await session.verify([agent], total);
    return { 'W8.100k': megabytes[0], 'W8.1M': megabytes[1] };
  },
};
