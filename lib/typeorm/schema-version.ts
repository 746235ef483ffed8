import { quoteSchema } from './identifiers.js';

/** The version of the schema that this package reads and writes. */
export const schemaVersion = 1;

interface Querying {
  query(sql: string, parameters?: unknown[]): Promise<unknown>;
}

/**
 * Reads the version that the migrations stamp on the task table as its comment. The stamp, unlike a table of
 * migrations, is the same whether the module migrated or the application's own migrations did.
 *
 * @returns 0 when the tables do not exist.
 */
export async function readSchemaVersion(connection: Querying, schema: string): Promise<number> {
  const rows = (await connection.query(`SELECT obj_description(to_regclass($1), 'pg_class') AS stamp`, [
    `${quoteSchema(schema)}."task"`,
  ])) as { stamp: string | null }[];
  return Number(/^nestjs-backie schema (\d+)$/.exec(rows[0]?.stamp ?? '')?.[1] ?? 0);
}
