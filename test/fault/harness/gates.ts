import { Client } from 'pg';
import { until } from './polling.js';

/**
 * Places inside statements at which a test can hold one session and let another pass: a trigger on each row takes a
 * shared advisory lock whose name is `<application name>:<operation>:<table>`, and the test closes the gate by taking
 * the same lock for itself. By then the session has locked the row, and has not written it yet.
 */
const trigger = `
  CREATE FUNCTION public.pass_gate() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM pg_advisory_xact_lock_shared(
      hashtext(current_setting('application_name') || ':' || TG_OP || ':' || TG_TABLE_NAME)::bigint);
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
  END $$`;

export interface Gate {
  /** Resolves when a session stands before it. */
  reached(): Promise<void>;
  open(): Promise<void>;
}

/** Rows that the test holds in a transaction of its own. */
export interface Hold {
  sql(text: string, values?: unknown[]): Promise<unknown>;
  release(): Promise<void>;
}

export interface Gates {
  install(tables: readonly string[]): Promise<void>;
  close(name: string): Promise<Gate>;
  hold(text: string, values: unknown[]): Promise<Hold>;
  /** Resolves when a session of this application waits for a lock. */
  blocked(applicationName: string): Promise<void>;
  sql(text: string, values?: unknown[]): Promise<unknown[]>;
  /** Opens what is still closed and lets go of what is still held. */
  openAll(): Promise<void>;
  end(): Promise<void>;
}

export async function openGates(url: string): Promise<Gates> {
  const connected = new Set<Client>();
  const connect = async () => {
    const client = new Client({ connectionString: url });
    client.on('error', () => {});
    await client.connect();
    connected.add(client);
    return client;
  };
  const disconnect = async (client: Client) => {
    if (connected.delete(client)) await client.end();
  };
  const observer = await connect();
  const sql = async (text: string, values: unknown[] = []) => (await observer.query(text, values)).rows as unknown[];
  const seen = (what: string, text: string, values: unknown[]) =>
    until(
      what,
      () => sql(text, values),
      ({ length }) => length > 0,
      10_000,
      5,
    ).then(() => {});

  return {
    sql,
    async install(tables) {
      await sql(trigger);
      for (const table of tables) {
        await sql(`CREATE TRIGGER gate BEFORE INSERT OR UPDATE OR DELETE ON ${table}
          FOR EACH ROW EXECUTE FUNCTION public.pass_gate()`);
      }
    },
    async close(name) {
      const client = await connect();
      await client.query('SELECT pg_advisory_lock(hashtext($1)::bigint)', [name]);
      const waiting = `
        SELECT FROM pg_locks waiting JOIN pg_locks held USING (locktype, classid, objid, objsubid, database)
        WHERE locktype = 'advisory' AND NOT waiting.granted AND held.granted AND held.pid = $1`;
      const { processID } = client as unknown as { processID: number };
      return {
        reached: () => seen(`a session before the gate ${name}`, waiting, [processID]),
        open: () => disconnect(client),
      };
    },
    async hold(text, values) {
      const client = await connect();
      await client.query('BEGIN');
      await client.query(text, values);
      return {
        sql: (more, moreValues = []) => client.query(more, moreValues),
        release: async () => {
          await client.query('COMMIT');
          await disconnect(client);
        },
      };
    },
    blocked: (applicationName) =>
      seen(
        `a session of ${applicationName} that waits`,
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1
           AND wait_event_type = 'Lock'`,
        [applicationName],
      ),
    async openAll() {
      for (const client of connected) if (client !== observer) await disconnect(client);
    },
    async end() {
      for (const client of connected) await disconnect(client);
    },
  };
}
