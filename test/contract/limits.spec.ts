import { MemoryTaskStore } from 'nestjs-backie';
import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { inject } from 'vitest';
import { describeLimits } from './limits.contract.js';

describeLimits('the limits of MemoryTaskStore', async () => {
  let aheadMs = 0;
  const store = new MemoryTaskStore({ now: () => Date.now() + aheadMs });
  await store.open();
  return {
    store,
    async passTime(ms) {
      aheadMs += ms;
    },
    dispose: () => store.close(),
  };
});

describeLimits('the limits of TypeOrmTaskStore', async () => {
  const connection = inject('databaseUrl');
  const schema = `limits_${randomBytes(6).toString('hex')}`;
  const store = new TypeOrmTaskStore({ connection, schema });
  await store.open();
  const client = new Client({ connectionString: connection });
  await client.connect();
  return {
    store,
    async passTime(ms) {
      const ago = `make_interval(secs => ${ms / 1_000})`;
      await client.query(`UPDATE ${schema}.task SET scheduled_at = scheduled_at - ${ago} WHERE scheduled_at > now()`);
      await client.query(
        `UPDATE ${schema}.rate_bucket SET taken_at = ARRAY(SELECT at - ${ago} FROM unnest(taken_at) at),
           line_at = line_at - ${ago}`,
      );
    },
    async dispose() {
      await store.close();
      await client.query(`DROP SCHEMA ${schema} CASCADE`);
      await client.end();
    },
  };
});
