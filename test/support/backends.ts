import { randomUUID } from 'node:crypto';
import { inject } from 'vitest';
import { sql } from './app.js';
import { until } from './tasks.js';

/** PostgreSQL's processes that serve one application: those of other tests, which run at the same time, do not count. */
export interface Backends {
  /** For the module's options. */
  readonly connection: { readonly url: string; readonly applicationName: string };
  count(): Promise<number>;
  /** PostgreSQL forgets a connection a moment after the client does. */
  gone(): Promise<void>;
  /** Ends those whose latest statement looks like this; says how many. */
  terminate(like?: string): Promise<number>;
  listener(): Promise<number | undefined>;
}

export function backends(url: string = inject('databaseUrl')): Backends {
  const applicationName = `backie ${randomUUID()}`;
  const from = `FROM pg_stat_activity WHERE application_name = $1`;
  const count = async () => Number((await sql<{ n: string }>(`SELECT count(*) AS n ${from}`, [applicationName]))[0].n);
  return {
    connection: { url, applicationName },
    count,
    gone: async () => {
      await until(count, (left) => left === 0);
    },
    terminate: async (like = '%') =>
      (await sql(`SELECT pg_terminate_backend(pid) ${from} AND query LIKE $2`, [applicationName, like])).length,
    listener: async () =>
      (await sql<{ pid: number }>(`SELECT pid ${from} AND query LIKE 'LISTEN%'`, [applicationName]))[0]?.pid,
  };
}
