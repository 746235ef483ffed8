import type { Fault } from '../harness/fault.js';
import { role } from '../harness/harness.js';
import { PgBouncer } from '../harness/pgbouncer.server.js';

const poolSize = 10;

export const pooler: Fault = {
  name: 'pgbouncer',
  shows: 'behind PgBouncer in transaction mode, which is killed and comes back',
  skip: () => PgBouncer.missing,
  async run(harness) {
    const { guardian } = harness.premises;
    let bouncer = await PgBouncer.start(guardian, harness.server.port, role, poolSize);
    harness.expected.leftConnections = poolSize;
    harness.finally(() => bouncer.close());
    const way = await harness.anotherProxy(() => bouncer.port);
    const databaseUrl = harness.urlThrough(way);
    await harness.startWorkers(4, { databaseUrl });
    await harness.load({ overMs: 6_000 }, harness.spawn({ workers: false, databaseUrl }));
    await harness.executions(harness.scaled(500));
    await bouncer.close();
    await harness.last(1_000);
    bouncer = await PgBouncer.start(guardian, harness.server.port, role, poolSize);
    await harness.loaded;
  },
};
