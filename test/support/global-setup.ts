import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  export interface ProvidedContext {
    /** A PostgreSQL on which the tests may create schemas: `inject('databaseUrl')`. */
    databaseUrl: string;
  }
}

/** Tests give up durability of the server's own crash, never the order and the visibility of commits. */
const settings = { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'on', max_connections: '300' };

/**
 * One PostgreSQL for the whole run: the one of `DATABASE_URL`, else an embedded one in a temporary folder, started from
 * the binaries in `BACKIE_TEST_PG_BIN` when that is set. Should this process be killed before its teardown, the server
 * notices that its last user has vanished, and goes with its folder.
 */
export default async function setup({ provide }: TestProject): Promise<(() => Promise<void>) | undefined> {
  if (process.env.DATABASE_URL) {
    provide('databaseUrl', process.env.DATABASE_URL);
    return undefined;
  }
  // Imported late: with DATABASE_URL the unit tests run without a build.
  const { startEmbeddedPostgres } = await import('nestjs-backie/embedded');
  const binDir = process.env.BACKIE_TEST_PG_BIN;
  const server = await startEmbeddedPostgres({ settings, ...(binDir && { binDir }) });
  provide('databaseUrl', server.url);
  return () => server.stop();
}
