/**
 * The statements that took most of the server's time in a session, with `--statements`.
 *
 * @param {import('./session.mjs').Session} session
 */
export async function topStatements(session) {
  if (!session.onPostgres) return [];
  const client = await session.connect();
  await client.query('CREATE EXTENSION IF NOT EXISTS pg_stat_statements');
  const { rows } = await client.query(`
    SELECT left(regexp_replace(query, '\\s+', ' ', 'g'), 160) AS query, calls::int, rows::int,
      round(total_exec_time)::int AS ms, round(total_plan_time)::int AS "planMs",
      round(mean_exec_time::numeric, 3)::float8 AS "meanMs", wal_bytes::float8 AS "walBytes"
    FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
    WHERE d.datname = current_database()
    ORDER BY total_exec_time + total_plan_time DESC LIMIT 12`);
  await client.end();
  return rows;
}
