import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { expect, it } from 'vitest';
import { whenFinished } from '../../support/app.js';
import { ownServer } from '../../support/own-server.js';
import { dayMs, partitionAt, prune } from './retention.fixtures.js';

it(
  'drops what is over while a large default partition lets none be made, and says so',
  { timeout: 60_000 },
  async () => {
    const { url, client } = await ownServer();
    const store = new TypeOrmTaskStore({ connection: url });
    await store.open();
    whenFinished(() => store.close());
    const gone = partitionAt(Date.now() - 2 * dayMs);
    const bound = (ms: number) => `'${new Date(ms).toISOString()}'`;
    await client.query(
      `CREATE TABLE backie.${gone.name} PARTITION OF backie.finished_task
     FOR VALUES FROM (${bound(gone.from)}) TO (${bound(gone.to)})`,
    );
    await client.query(
      `INSERT INTO backie.finished_task (id, queue, name, state, priority, scheduled_at, claim_seq, attempt, retries, crashes,
       created_at, kept_until, payload, attempts)
     SELECT gen_random_uuid(), 'q', 'work', 'done', 0, now(), 1, 1, 0, 0, now(), now() + interval '100 days', '{}', '[]'
     FROM generate_series(1, 1000)`,
    );
    await client.query(
      `CREATE FUNCTION public.scan() RETURNS event_trigger LANGUAGE plpgsql AS $$
       BEGIN PERFORM pg_sleep(count(*) / 100.0) FROM backie.finished_task_default; END $$`,
    );
    await client.query(
      `CREATE EVENT TRIGGER scan ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION public.scan()`,
    );
    const tables = async () => {
      const { rows } = await client.query<{ name: string }>(
        `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'backie.finished_task'::regclass`,
      );
      return rows.map(({ name }) => name.replace('backie.', ''));
    };
    const report = await prune(store, [dayMs]);
    expect(report).toMatchObject({ dropped: [gone.name], unfinished: false });
    expect(report.weakened).toMatch(/finished_task_default.*could not be made.*each hour/);
    expect((await tables()).toSorted()).toEqual(['finished_task_default', 'finished_task_forever']);

    // It is not tried again at once, as each try keeps the writers of the default partition waiting.
    const startedAt = performance.now();
    expect(await prune(store, [dayMs])).toEqual({ dropped: [], deleted: 0, unfinished: false });
    expect(performance.now() - startedAt).toBeLessThan(1_000);

    // Another process, once there is room.
    await client.query(`DROP EVENT TRIGGER scan`);
    const other = new TypeOrmTaskStore({ connection: url });
    await other.open();
    whenFinished(() => other.close());
    await prune(other, [dayMs]);
    expect((await tables()).length).toBeGreaterThan(2);
  },
);
