import { MemoryTaskStore } from 'nestjs-backie';
import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { inject } from 'vitest';
import { describeScheduleStore } from './schedule-store.contract.js';

describeScheduleStore('the schedules of MemoryTaskStore', async () => {
  const store = new MemoryTaskStore();
  await store.open();
  return { store, dispose: () => store.close() };
});

describeScheduleStore('the schedules of TypeOrmTaskStore', async () => {
  const connection = inject('databaseUrl');
  const schema = `schedules_${randomBytes(6).toString('hex')}`;
  const store = new TypeOrmTaskStore({ connection, schema });
  await store.open();
  return {
    store,
    async dispose() {
      await store.close();
      const client = new Client({ connectionString: connection });
      await client.connect();
      await client.query(`DROP SCHEMA ${schema} CASCADE`);
      await client.end();
    },
  };
});
