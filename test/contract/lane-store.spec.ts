import { MemoryTaskStore } from 'nestjs-backie';
import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, beforeAll, inject } from 'vitest';
import { describeLaneStore } from './lane-store.contract.js';
import { mortal } from './task-store.fixtures.js';

describeLaneStore('the concurrency keys of MemoryTaskStore', async () => {
  let aheadMs = 0;
  const store = new MemoryTaskStore({ now: () => Date.now() + aheadMs });
  await store.open();
  return {
    store,
    async expireLease() {
      aheadMs += mortal.leaseMs;
    },
    async passTime(_queue, ms) {
      aheadMs += ms;
    },
    dispose: () => store.close(),
  };
});

const connection = inject('databaseUrl');
const schema = `lanes_${randomBytes(6).toString('hex')}`;
const client = new Client({ connectionString: connection });

beforeAll(() => client.connect());
afterAll(async () => {
  await client.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
  await client.end();
});

describeLaneStore('the concurrency keys of TypeOrmTaskStore', async () => {
  const store = new TypeOrmTaskStore({ connection, schema });
  await store.open();
  return {
    store,
    async expireLease(workerId) {
      await client.query(`UPDATE ${schema}.worker SET lease_until = now() - interval '1 second' WHERE id = $1`, [
        workerId,
      ]);
    },
    async passTime(queue, ms) {
      for (const time of ['scheduled_at', 'due_at']) {
        await client.query(
          `UPDATE ${schema}.task SET ${time} = ${time} - make_interval(secs => $2::float8 / 1000)
           WHERE queue = $1 AND ${time} > now() AND ${time} < 'infinity'`,
          [queue, ms],
        );
      }
    },
    dispose: () => store.close(),
    racing: true,
  };
});
