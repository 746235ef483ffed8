import type { ClientConfig, Pool } from 'pg';

/** The options of a connection apart from the pool, to the same database. */
export function clientConfig(pool: Pool): ClientConfig {
  const { user, password, host, port, database, ssl, connectionString, application_name } =
    pool.options as ClientConfig;
  // The pool hides the client's key from enumeration, and a copy for a thread would lack it.
  const visible = typeof ssl === 'object' ? { ...ssl, ...(ssl.key !== undefined && { key: ssl.key }) } : ssl;
  return { user, password, host, port, database, ssl: visible, connectionString, application_name, keepAlive: true };
}
