import { keepEnded, putBack, stays } from './finished-tasks.sql.js';
import { sameKey } from './fragments.sql.js';
import { hear, wake } from './hints.sql.js';
import { channelOf, quoteSchema } from './identifiers.js';
import { holdsKey } from './new-tasks.sql.js';

/** What people do to one task. To many of them: bulk.sql.ts. */
export function taskSql(schema: string) {
  const s = quoteSchema(schema);
  const channel = `'${channelOf(schema)}'`;
  const task = `${s}."task"`;
  const finished = `${s}."finished_task"`;

  return {
    /** $1 id. */
    queueOf: `SELECT "queue" FROM ${task} WHERE "id" = $1::uuid`,

    /** $1 id, $2 queue, $3 for how many milliseconds the cancelled task stays (0: not at all). */
    cancel: `
      WITH live AS MATERIALIZED (
        SELECT "id", "queue", "worker_id" FROM ${task} WHERE "id" = $1::uuid AND "queue" = $2 FOR UPDATE
      ), ended AS (
        DELETE FROM ${task} t USING live
        WHERE ${sameKey('t', 'live')} AND live."worker_id" IS NULL
        RETURNING t.*, $3::float8 AS "keep_ms"
      ), kept AS (${keepEnded(finished, 'ended', { state: `'cancelled'` })}
      ), asked AS (
        UPDATE ${task} t SET "cancel_keep_ms" = $3::float8 FROM live
        WHERE ${sameKey('t', 'live')} AND live."worker_id" IS NOT NULL
        RETURNING t."id"
      )
      SELECT (SELECT count(*) FROM ended)::int AS "ended",
        (SELECT count(pg_notify(${channel}, 'c' || "id")) FROM asked)::int AS "asked",
        (SELECT "name" FROM ended), (SELECT "lane" FROM ended), (${hear(channel, 'ended')})::int AS "told"`,

    /**
     * $1 id. A dead letter goes back to the queue that it came from. Its unique key may be taken meanwhile: that is an
     * error, and the finished row stays. It expires no more.
     */
    retry: `
      WITH gone AS (
        DELETE FROM ${finished} WHERE "id" = $1::uuid AND "state" IN ('failed', 'cancelled') AND ${stays} RETURNING *
      ), back AS (
        ${putBack(task, 'gone')} RETURNING "queue", "name", "lane"
      ), woken AS (
        ${wake(channel, 'back')}
      )
      SELECT (SELECT count(*) FROM back)::int AS "back", (SELECT told FROM woken)::int AS "told",
        back."queue", back."name", back."lane" FROM (VALUES (1)) one LEFT JOIN back ON true`,

    /** $1 id: who holds the unique key of this finished task. */
    keyHolder: `
      SELECT t."id"::text AS "holder" FROM ${finished} f
      JOIN ${task} t ON t."queue" = coalesce(f."dead_from", f."queue") AND t."name" = f."name"
        AND t."unique_key" = f."unique_key" AND ${holdsKey('t.')}
      WHERE f."id" = $1::uuid`,

    /**
     * $1 id. A running task is left alone. Found first, whatever it does: `worker_id IS NULL` beside the id would let the
     * planner walk through task_ready.
     */
    remove: `
      WITH found AS MATERIALIZED (
        SELECT "id", "queue", "worker_id" FROM ${task} WHERE "id" = $1::uuid FOR UPDATE
      ), live AS (
        DELETE FROM ${task} t USING found WHERE ${sameKey('t', 'found')} AND found."worker_id" IS NULL
        RETURNING t."id", t."awaited", t."queue", t."name", t."lane"
      ), past AS (
        DELETE FROM ${finished} WHERE "id" = $1::uuid AND ${stays} RETURNING 1
      )
      SELECT ((SELECT count(*) FROM live) + (SELECT count(*) FROM past))::int AS "removed",
        live."queue", live."name", live."lane", (${hear(channel, 'live')})::int AS "told"
      FROM (VALUES (1)) one LEFT JOIN live ON true`,
  };
}
