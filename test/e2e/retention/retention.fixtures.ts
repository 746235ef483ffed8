import { randomUUID } from 'node:crypto';
import type { PruneReport } from 'nestjs-backie';
import { TypeOrmTaskStore, type TypeOrmTaskStoreOptions } from 'nestjs-backie/typeorm';
import { inject } from 'vitest';
// Which partitions there are is nobody's API.
import { dayMs, type Partition, partitionAt } from '../../../dist/typeorm/partitions.js';
import { finish, immortal, leaseOf, newTask } from '../../contract/task-store.fixtures.js';
import { freshSchema, sql, whenFinished } from '../../support/app.js';

export { dayMs, partitionAt };

export async function openStore(options: Partial<TypeOrmTaskStoreOptions> = {}): Promise<TypeOrmTaskStore> {
  const store = new TypeOrmTaskStore({ connection: inject('databaseUrl'), ...options });
  await store.open();
  whenFinished(() => store.close());
  return store;
}

/** Asks a store to prune as a process of its own would. */
export function prune(store: TypeOrmTaskStore, keepMs: readonly number[] = [], staleMs = 60_000): Promise<PruneReport> {
  return store.prune({ holder: randomUUID(), keepMs, staleMs, signal: new AbortController().signal });
}

/** A store in a schema of its own, with a worker, and what tests of its partitions need. */
export async function world(options: Partial<TypeOrmTaskStoreOptions> = {}) {
  const schema = options.schema ?? freshSchema();
  const store = await openStore({ ...options, schema });
  const history = historyOf(schema);
  const lease = await leaseOf(store, ['q'], immortal);
  whenFinished(() => lease.end());
  /** Runs a task that stays for so long. @returns Its id. */
  const end = async (keepMs: number | null): Promise<string> => {
    const task = newTask({ queue: 'q' });
    await store.enqueue([task]);
    const [claimed] = await store.claim({ workerId: lease.workerId, queue: 'q', names: ['work'], limit: 1 });
    await store.settle(lease.workerId, [finish(claimed, { keepMs })]);
    return claimed.id;
  };
  return { schema, store, end, ...history };
}

/** The history of a schema, seen and changed past the store. */
export function historyOf(schema: string) {
  return {
    /** In which partition each finished task is, by its id. */
    places: async (): Promise<Record<string, string>> => {
      const rows = await sql<{ id: string; place: string }>(
        `SELECT f.id, c.relname AS place FROM "${schema}".finished_task f JOIN pg_class c ON c.oid = f.tableoid`,
      );
      return Object.fromEntries(rows.map(({ id, place }) => [id, place]));
    },
    /** The tables that hold finished tasks, the one above them included. */
    tables: async (): Promise<string[]> => {
      const rows = await sql<{ name: string }>(
        `SELECT relname AS name FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p')
           AND relname LIKE 'finished%' ORDER BY relname`,
        [`"${schema}"`],
      );
      return rows.map(({ name }) => name);
    },
    addPartition: (name: string, { from, to }: Pick<Partition, 'from' | 'to'>) =>
      sql(
        `CREATE TABLE "${schema}"."${name}" PARTITION OF "${schema}".finished_task
         FOR VALUES FROM ('${new Date(from).toISOString()}') TO ('${new Date(to).toISOString()}')`,
      ),
    /** Stores finished tasks that stay until these times; null is for ever. @returns Their ids. */
    addFinished: async (...until: (number | null)[]): Promise<string[]> => {
      const rows = await sql<{ id: string }>(
        `INSERT INTO "${schema}".finished_task (id, queue, name, state, priority, scheduled_at, claim_seq, attempt,
           retries, crashes, created_at, kept_until, payload, attempts)
         SELECT gen_random_uuid(), 'q', 'work', 'done', 0, now(), 1, 1, 0, 0, now(),
           coalesce(timestamptz 'epoch' + t * interval '1 millisecond', 'infinity'), '{}', '[]'
         FROM unnest($1::float8[]) t RETURNING id`,
        [until],
      );
      return rows.map(({ id }) => id);
    },
    /** Finished tasks can be dropped from now on, but not be deleted. */
    refuseDeletes: () =>
      sql(
        `CREATE FUNCTION "${schema}".refuse() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN RAISE EXCEPTION 'a finished task is deleted'; END $$;
         CREATE TRIGGER refuse BEFORE DELETE ON "${schema}".finished_task
         FOR EACH ROW EXECUTE FUNCTION "${schema}".refuse()`,
      ),
    /** The work of all days has been done a day earlier than it was. */
    passDay: () => sql(`UPDATE "${schema}".upkeep SET day = day - 1`),
    upkeep: () =>
      sql<{ job: string; holder: string; today: boolean; finished: boolean }>(
        `SELECT job, holder, day = (now() AT TIME ZONE 'UTC')::date AS today, finished_at IS NOT NULL AS finished
         FROM "${schema}".upkeep ORDER BY day, job`,
      ),
  };
}
