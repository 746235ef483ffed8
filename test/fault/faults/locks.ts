import { Client } from 'pg';
import { v7 as uuid } from 'uuid';
import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import type { Fault } from '../harness/fault.js';

export const tableLocked: Fault = {
  name: 'table-locked',
  shows: 'somebody locks the table of tasks for 20 s; nobody loses a lease over it',
  async run(harness) {
    await harness.begin({ overMs: 4_000 });
    const client = new Client({ connectionString: harness.server.url(harness.database) });
    client.on('error', () => {});
    await client.connect();
    try {
      await client.query('BEGIN');
      await client.query('LOCK TABLE backie.task IN ACCESS EXCLUSIVE MODE');
      await harness.last(20_000);
      await client.query('COMMIT');
    } finally {
      await client.end();
    }
    harness.expect(harness.leasesLost === 0, `${harness.leasesLost} leases were lost while the table was locked.`);
    harness.expected.duplicates = 0;
  },
};

const rounds = 10;
const batch = 300;

export const opposedSettles: Fault = {
  name: 'opposed-settles',
  shows: 'the same tasks are settled, cancelled and rescued at once in opposed orders, without a deadlock',
  async run(harness) {
    await harness.begin();
    const stores = await Promise.all(
      [1, 2, 3].map(async () => {
        const store = new TypeOrmTaskStore({ connection: harness.url, schema: 'opposed' });
        await store.open();
        return store;
      }),
    );
    harness.finally(() => Promise.all(stores.map((store) => store.close())));
    const [one, other, third] = stores;
    const worker = { id: uuid(), host: 'here', pid: 1, version: '0', queues: ['q'] };
    const lease = await one.lease(worker, { leaseMs: 600_000, heartbeatMs: 60_000 }, { lost() {}, renewalFailed() {} });
    let settled = 0;
    for (let round = 0; round < rounds; round++) {
      await one.enqueue(
        Array.from({ length: batch }, () => ({
          id: uuid(),
          name: 'x',
          queue: 'q',
          payload: '{}',
          priority: 0,
          uniqueKey: null,
          maxRetries: null,
          timeoutMs: null,
          due: { inMs: 0 },
        })),
      );
      const claimed = await one.claim({ workerId: worker.id, queue: 'q', names: ['x'], limit: batch });
      const settlements = claimed.map(({ id, queue, claimSeq }) => ({
        ...({ id, queue, claimSeq, kind: 'finish', state: 'done', attempt: null } as const),
        keepMs: round % 2 === 0 ? Infinity : null,
      }));
      const answers = await Promise.all([
        one.settle(worker.id, settlements),
        other.settle(worker.id, settlements.toReversed()),
        third.rescue({ leaseMs: 0, maxCrashes: 3, keepFailedMs: new Map() }),
        ...claimed.slice(0, 20).map(({ id }) => third.cancel(id, () => Infinity)),
      ]);
      settled += answers[0].size + answers[1].size;
    }
    await lease.end();
    await Promise.all(stores.map((store) => store.close()));
    harness.expect(settled === rounds * batch, `${settled} of ${rounds * batch} tasks were settled.`);
    const [{ deadlocks }] = await harness.sql<{ deadlocks: string }>(
      'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()',
    );
    harness.expect(deadlocks === '0', `${deadlocks} deadlocks.`);
  },
};
