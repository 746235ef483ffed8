import { MemoryTaskStore } from 'nestjs-backie';
import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { inject } from 'vitest';
import { describeTaskEnds } from './task-ends.contract.js';
import { mortal } from './task-store.fixtures.js';

describeTaskEnds('the ends of tasks of MemoryTaskStore', async () => {
  let aheadMs = 0;
  const store = new MemoryTaskStore({ now: () => Date.now() + aheadMs });
  await store.open();
  const pass = async (ms: number) => {
    aheadMs += ms;
  };
  return {
    store,
    expireLease: () => pass(mortal.leaseMs),
    passTime: (_queue, ms) => pass(ms),
    dispose: () => store.close(),
  };
});

describeTaskEnds('the ends of tasks of TypeOrmTaskStore', async () => {
  const connection = inject('databaseUrl');
  const schema = `ends_${randomBytes(6).toString('hex')}`;
  const store = new TypeOrmTaskStore({ connection, schema });
  await store.open();
  const client = new Client({ connectionString: connection });
  await client.connect();
  return {
    store,
    async expireLease(workerId) {
      await client.query(`UPDATE ${schema}.worker SET lease_until = now() - interval '1 second' WHERE id = $1`, [
        workerId,
      ]);
    },
    async passTime(queue, ms) {
      await client.query(
        `UPDATE ${schema}.finished_task SET kept_until = kept_until - make_interval(secs => $2::float8 / 1000)
         WHERE queue = $1 AND kept_until < 'infinity'`,
        [queue, ms],
      );
    },
    async dispose() {
      await store.close();
      await client.query(`DROP SCHEMA ${schema} CASCADE`);
      await client.end();
    },
    racing: true,
  };
});
