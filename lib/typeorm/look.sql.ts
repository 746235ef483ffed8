import { stays } from './finished-tasks.sql.js';
import { beyond, millis } from './fragments.sql.js';
import { quoteSchema } from './identifiers.js';
import { trueDue } from './new-tasks.sql.js';

/** What people look at. It locks nothing. */
export function lookSql(schema: string) {
  const s = quoteSchema(schema);
  const task = `${s}."task"`;
  const finished = `${s}."finished_task"`;

  /** The columns of a task that is shown, in the order of `shownTask`; a live one and a finished one alike. */
  const shown = (
    state: string,
    workerId: string,
    finishedAt: string,
    ended: string,
    scheduledAt = `"scheduled_at"`,
  ) => `${state} AS "state", ${workerId} AS "worker_id",
      ${finishedAt} AS "finished_at", "id", "queue", "name", "priority", ${millis(scheduledAt)} AS "scheduled_at",
      "claim_seq", "attempt", "retries", "crashes", "max_retries", "timeout_ms", ${millis('"created_at"')} AS "created_at",
      ${millis('"started_at"')} AS "started_at", "unique_key", "payload", "attempts",
      ${millis('"expires_at"')} AS "expires_at", ${ended}`;
  const liveRow = shown(
    `CASE WHEN "worker_id" IS NULL THEN 'ready' ELSE 'running' END`,
    '"worker_id"',
    'NULL::float8',
    `NULL::text AS "reason", "lane", NULL::uuid AS "last_worker", NULL::jsonb AS "result", NULL::text AS "dead_from"`,
    trueDue,
  );
  const finishedRow = shown(
    '"state"',
    'NULL::uuid',
    millis('"finished_at"'),
    `"reason", "lane", "worker_id" AS "last_worker", "result", "dead_from"`,
  );

  /**
   * $1 limit, $2 the id after which the page begins or null, $3 queue, $4 name, $5 states, $6 unique key; each null
   * for all. Both halves read their primary key in order from there, and stop after the limit.
   */
  const list = (order: 'ASC' | 'DESC') => {
    const half = (row: string, from: string) => `
      (SELECT * FROM (SELECT ${row} FROM ${from}) t
       WHERE ${beyond('"id"', '$2', order)} AND ($3::text IS NULL OR "queue" = $3)
         AND ($4::text IS NULL OR "name" = $4) AND ($5::text[] IS NULL OR "state" = ANY($5))
         AND ($6::text IS NULL OR "unique_key" = $6)
       ORDER BY "id" ${order} LIMIT $1)`;
    return `SELECT * FROM (${half(liveRow, task)} UNION ALL ${half(finishedRow, `${finished} WHERE ${stays}`)}) both_halves
      ORDER BY "id" ${order} LIMIT $1`;
  };

  return {
    /** $1 queue or null for all. */
    counts: `
      SELECT CASE WHEN "worker_id" IS NULL THEN 'ready' ELSE 'running' END AS "state", count(*)::float8 AS "count"
      FROM ${task} WHERE $1::text IS NULL OR "queue" = $1 GROUP BY 1
      UNION ALL
      SELECT "state", count(*)::float8 FROM ${finished}
      WHERE ($1::text IS NULL OR "queue" = $1) AND ${stays} GROUP BY 1`,

    listNewestFirst: list('DESC'),
    listOldestFirst: list('ASC'),

    /** $1 id. */
    find: `
      SELECT ${liveRow} FROM ${task} WHERE "id" = $1::uuid
      UNION ALL
      SELECT ${finishedRow} FROM ${finished} WHERE "id" = $1::uuid AND ${stays}`,
  };
}
