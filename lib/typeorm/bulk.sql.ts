import { keepEnded, putBack, stays } from './finished-tasks.sql.js';
import { beyond, leastId, sameKey } from './fragments.sql.js';
import { hear, wake } from './hints.sql.js';
import { channelOf, quoteSchema } from './identifiers.js';

/**
 * Changes of many tasks. The rules of statements.ts hold here too. Each first looks for its rows without a lock, in the
 * order of ids, and then changes those that still fit: found by primary key, and locked in the order of their ids.
 */
export function bulkSql(schema: string) {
  const s = quoteSchema(schema);
  const task = `${s}."task"`;
  const finished = `${s}."finished_task"`;
  const channel = `'${channelOf(schema)}'`;
  const liveState = `CASE WHEN t."worker_id" IS NULL THEN 'ready' ELSE 'running' END`;

  /**
   * $1 limit, $2 the id after which to go on or null, $3 queue, $4 name, $5 states, $6 unique key, $7 enqueued before, in
   * ms since 1970; null for all.
   */
  const fits = (state: string) => `($4::text IS NULL OR t."name" = $4) AND ($5::text[] IS NULL OR ${state} = ANY($5))
        AND ($6::text IS NULL OR t."unique_key" = $6)
        AND t."created_at" < timestamptz 'epoch' + $7::float8 * interval '1 millisecond'`;
  /** Along the primary key, of which each batch reads the part that follows the last one. */
  const pick = (from: string, state: string, more = '') => `
      SELECT t."id", t."queue", t."name" FROM ${from} t
      WHERE ${beyond('t."id"', '$2', 'ASC')} AND ($3::text IS NULL OR t."queue" = $3)
        AND ${fits(state)}${more}
      ORDER BY t."id" LIMIT $1`;
  const input = (columns: string, names: string) =>
    `(SELECT * FROM unnest(${columns}) AS i(${names}) ORDER BY i."id") i`;
  const keys = input('$1::uuid[], $2::text[]', '"id", "queue"');

  return {
    pickLive: pick(task, liveState),

    /** The same among finished ones. $8 only dead letters, or none of them; null for both. $9 where those came from. */
    pickFinished: pick(
      finished,
      't."state"',
      `
        AND ${stays} AND ($8::boolean IS NULL OR (t."dead_from" IS NOT NULL) = $8) AND ($9::text IS NULL OR t."dead_from" = $9)`,
    ),

    /**
     * The same among dead letters of one queue, few in a long history. $8 where they came from, or null. By
     * finished_task_dead, whatever the statistics say: nothing else has rows in the order of queues.
     */
    pickDead: `
      SELECT t."id", t."queue", t."name" FROM ${finished} t
      WHERE t."dead_from" IS NOT NULL AND t."queue" <= $3::text
        AND (t."queue", t."id") >= ($3::text, coalesce($2::uuid, '${leastId}')) AND t."id" IS DISTINCT FROM $2::uuid
        AND ${fits('t."state"')} AND ${stays} AND ($8::text IS NULL OR t."dead_from" = $8)
      ORDER BY t."queue", t."id" LIMIT $1`,

    /** $1 ids, $2 queues, $3 for how many milliseconds each stays when it is cancelled. */
    cancelMany: `
      WITH live AS MATERIALIZED (
        SELECT t."id", t."queue", t."worker_id", i."keep_ms"
        FROM ${input('$1::uuid[], $2::text[], $3::float8[]', '"id", "queue", "keep_ms"')} JOIN ${task} t ON ${sameKey('t', 'i')}
        FOR UPDATE OF t
      ), ended AS (
        DELETE FROM ${task} t USING live
        WHERE ${sameKey('t', 'live')} AND live."worker_id" IS NULL
        RETURNING t.*, live."keep_ms"
      ), kept AS (${keepEnded(finished, 'ended', { state: `'cancelled'` })}
      ), asked AS (
        UPDATE ${task} t SET "cancel_keep_ms" = live."keep_ms" FROM live
        WHERE ${sameKey('t', 'live')} AND live."worker_id" IS NOT NULL
        RETURNING t."id"
      ), told AS (
        SELECT (SELECT count(pg_notify(${channel}, 'c' || "id")) FROM asked) + (${hear(channel, 'ended')}) AS "count"
      )
      SELECT o.*, told."count" FROM (
        SELECT "id", 'cancelled' AS "outcome", "queue", "name", "lane" FROM ended
        UNION ALL
        SELECT "id", 'requested', NULL, NULL, NULL FROM asked
      ) o CROSS JOIN told`,

    /**
     * $1 ids, $2 queues under which they stand. Those whose unique key is taken are left where they are. Stored in the
     * order of their keys, as every enqueue is, so that they wait for other producers in one order.
     */
    retryMany: `
      WITH past AS MATERIALIZED (
        SELECT f.* FROM ${keys} JOIN ${finished} f ON ${sameKey('f', 'i')}
        WHERE f."state" IN ('failed', 'cancelled') AND ${stays}
        FOR UPDATE OF f
      ), back AS (
        ${putBack(task, 'past', 'ORDER BY "unique_key", "id"')}
        ON CONFLICT DO NOTHING
        RETURNING "id", "queue", "name", "lane"
      ), gone AS (
        DELETE FROM ${finished} f USING past JOIN back ON back."id" = past."id"
        WHERE ${sameKey('f', 'past')}
      ), woken AS (
        ${wake(channel, 'back')}
      )
      SELECT back.*, woken.told FROM back CROSS JOIN woken`,

    /** $1 ids, $2 queues: of live tasks. */
    removeLive: `
      WITH live AS MATERIALIZED (
        SELECT t."id", t."queue", t."worker_id" FROM ${keys} JOIN ${task} t ON ${sameKey('t', 'i')} FOR UPDATE OF t
      ), ended AS (
        DELETE FROM ${task} t USING live WHERE ${sameKey('t', 'live')} AND live."worker_id" IS NULL
        RETURNING t."id", t."awaited", t."queue", t."name", t."lane"
      ), heard AS (
        ${hear(channel, 'ended')}
      )
      SELECT ended."id", ended."queue", ended."name", ended."lane", heard.told FROM ended CROSS JOIN heard`,

    /** $1 ids, $2 queues: of finished tasks. */
    removeFinished: `
      WITH past AS MATERIALIZED (
        SELECT f."id", f."queue" FROM ${keys} JOIN ${finished} f ON ${sameKey('f', 'i')} WHERE ${stays} FOR UPDATE OF f
      )
      DELETE FROM ${finished} f USING past WHERE ${sameKey('f', 'past')} RETURNING f."id"`,
  };
}
