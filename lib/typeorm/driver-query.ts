import type { Connection, PoolClient, QueryArrayConfig } from 'pg';
import type { NamedStatement, TextRow } from './text-query.js';

/** A little longer than the server's own timeout, see session-settings.ts. */
export const clientTimeoutMs = 35_000;

/** Values come as text: what an application sets in pg's global type parsers must not reach the engine. */
const asText = { getTypeParser: () => (value: string) => value };

/** Runs a statement by the driver's own query: for pg-native, and for connections of the application's. */
export async function queryByDriver(
  client: PoolClient,
  { name, text }: NamedStatement,
  values: readonly unknown[],
): Promise<readonly TextRow[]> {
  const config: QueryArrayConfig<unknown[]> & { query_timeout: number } = {
    ...(name !== '' && { name }),
    text,
    values: [...values],
    rowMode: 'array',
    types: asText,
    query_timeout: clientTimeoutMs,
  };
  const result = await client.query<(string | null)[], unknown[]>(config);
  return result.rows;
}

/** The driver's client in JavaScript; pg-native has none of the protocol that a query of our own needs. */
export function speaksProtocol(client: PoolClient): boolean {
  return (connectionOf(client) as { parsedStatements?: unknown } | undefined)?.parsedStatements !== undefined;
}

export function connectionOf(client: PoolClient): Connection {
  return (client as unknown as { connection: Connection }).connection;
}
