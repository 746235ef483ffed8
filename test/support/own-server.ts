import { startEmbeddedPostgres } from 'nestjs-backie/embedded';
import { Client } from 'pg';
import { whenFinished } from './app.js';

/**
 * A server that nobody else uses, for what is counted of a whole server: WAL, buffers, vacuums. Nothing runs on it by
 * itself: no autovacuum, no checkpoint, and no full-page images, which depend on when the last checkpoint was.
 */
export async function ownServer(settings: Record<string, string> = {}): Promise<{ url: string; client: Client }> {
  const binDir = process.env.BACKIE_TEST_PG_BIN;
  const server = await startEmbeddedPostgres({
    settings: {
      fsync: 'off',
      autovacuum: 'off',
      full_page_writes: 'off',
      checkpoint_timeout: '1h',
      max_wal_size: '16GB',
      ...settings,
    },
    ...(binDir && { binDir }),
  });
  whenFinished(() => server.stop());
  return { url: server.url, client: await connected(server.url) };
}

/** A connection of the test's own; it is closed when the test has finished. */
export async function connected(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  await client.connect();
  whenFinished(() => client.end());
  return client;
}
