import { channelOf } from './identifiers.js';

/**
 * How processes tell each other what has happened, by NOTIFY; a PostgresNotifier hears it. All of it are hints, see
 * StoreHint: most are told by the statement that does what they tell of, and so at its commit.
 */

/** Wakes the workers of each queue in the rows, once: NOTIFY takes a global lock at commit. */
export const wake = (channel: string, rows: string) =>
  `SELECT count(pg_notify(${channel}, 'w0:' || d."queue")) AS told FROM (SELECT DISTINCT "queue" FROM ${rows}) d`;

/** Tells whoever awaits those of the rows that have ended. */
export const hear = (channel: string, rows: string) =>
  `SELECT count(pg_notify(${channel}, 'e' || "id")) AS told FROM ${rows} WHERE "awaited"`;

export function hintSql(schema: string) {
  return {
    /** $1 queues, $2 in how many milliseconds something falls due on each: wakes their workers. */
    notify: `
      SELECT count(pg_notify('${channelOf(schema)}', 'w' || i."in_ms" || ':' || i."queue"))
      FROM unnest($1::text[], $2::bigint[]) AS i("queue", "in_ms")`,

    listen: `LISTEN "${channelOf(schema)}"`,
  };
}
