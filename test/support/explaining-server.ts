import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import type { Client } from 'pg';
import { connected, ownServer } from './own-server.js';
import { sentStatements } from './sent-statements.js';

/** A server of its own with the schema in place, on which statements can be explained. */
export interface ExplainingServer {
  readonly url: string;
  readonly client: Client;
  /** A session that is set as the engine sets its own. */
  readonly engine: Client;
}

export async function explainingServer(settings: Record<string, string> = {}): Promise<ExplainingServer> {
  const { url, client } = await ownServer({ synchronous_commit: 'off', ...settings });
  const sent = sentStatements([client]);
  const store = new TypeOrmTaskStore({ connection: url });
  await store.open();
  await store.counts();
  const setting = sent.all.find(({ text }) => text.includes('set_config'))!;
  await store.close();
  const engine = await connected(url);
  const { rows } = await engine.query<{ pid: number }>(`SELECT pg_backend_pid() AS pid`);
  await engine.query(setting.text, [rows[0].pid, ...setting.values.slice(1)]);
  return { url, client, engine };
}
