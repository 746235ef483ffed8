/** The version of the schema that this package reads and writes. */
export const schemaVersion = 1;

interface Querying {
  query(sql: string, parameters?: unknown[]): Promise<unknown>;
}

/**
 * Reads the version that the migrations stamp on the task table as its comment. The stamp, unlike a table of
 * migrations, is the same whether the module migrated or the application's own migrations did.
 *
 * It reads the catalog's tables, which a snapshot shows as they are now. `to_regclass` would ask the session's cache:
 * that goes on saying "no such schema" after waiting, inside a transaction, for the one that creates it.
 *
 * @returns 0 when the tables do not exist.
 */
export async function readSchemaVersion(connection: Querying, schema: string): Promise<number> {
  const rows = (await connection.query(
    `SELECT d.description AS stamp
     FROM pg_catalog.pg_namespace n
     JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'task'
     JOIN pg_catalog.pg_description d
       ON d.objoid = c.oid AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0
     WHERE n.nspname = $1`,
    [schema],
  )) as { stamp: string }[];
  return Number(/^nestjs-backie schema (\d+)$/.exec(rows[0]?.stamp ?? '')?.[1] ?? 0);
}
