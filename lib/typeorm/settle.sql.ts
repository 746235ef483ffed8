import { withAttempt } from './attempts.sql.js';
import { keepEnded } from './finished-tasks.sql.js';
import { sameKey } from './fragments.sql.js';
import { hear, wake } from './hints.sql.js';
import { channelOf, quoteSchema } from './identifiers.js';
import { backForLater } from './lane-order.js';
import { clock, later } from './new-tasks.sql.js';

/** What ends the tasks that a worker holds, or gives them back. */
export function settleSql(schema: string) {
  const s = quoteSchema(schema);
  const channel = `'${channelOf(schema)}'`;
  const task = `${s}."task"`;
  const finished = `${s}."finished_task"`;
  const paused = `${s}."paused_lane"`;

  /**
   * Ends the held tasks of $2 ids, $3 queues, $4 claim numbers, and what more of the input is asked for. The loop over
   * the sorted input finds each row by its primary key, and so locks them in the order of their ids.
   */
  const end = (more = '', names = '') => `
      DELETE FROM ${task} t
      USING (
        SELECT * FROM unnest($2::uuid[], $3::text[], $4::bigint[]${more}) AS i("id", "queue", "claim_seq"${names})
        ORDER BY i."id"
      ) i
      WHERE ${sameKey('t', 'i')}
        AND t."worker_id" IS NOT DISTINCT FROM $1::uuid AND t."claim_seq" = i."claim_seq"`;

  /** One row: the ids of those that have ended as JSON text, or null for all of $2, as it nearly always is. */
  const whichEnded = `
      SELECT CASE WHEN (SELECT count(*) FROM ended) < cardinality($2::uuid[])
          THEN (SELECT coalesce(json_agg("id"), '[]') FROM ended) END AS "only",
        (${hear(channel, 'ended')}) AS "told"`;

  return {
    /** $1 worker, $2 ids, $3 queues, $4 claim numbers: the tasks end and leave no trace. */
    settleRemoved: `
      WITH ended AS (${end()} RETURNING t."id", t."awaited"
      )${whichEnded}`,

    /**
     * The same for tasks that are done at their last attempt and stay, $5 for how many milliseconds, $6 with which results
     * as JSON text, or nulls.
     */
    settleKept: `
      WITH ended AS (
        ${end(', $5::float8[], $6::text[]', ', "keep_ms", "result"')} RETURNING t.*, i."keep_ms", i."result"
      ), kept AS (${keepEnded(finished, 'ended', { state: `'done'`, result: '"result"::jsonb' })}
      )${whichEnded}`,

    /**
     * $1 worker, $2: a JSON array of [id, queue, claimSeq, state or null, keepMs, retryInMs or null, attempt or null, queue
     * of dead letters or null]. A state ends the task, which stays for keepMs (0: not at all, 'Infinity': for ever), maybe
     * under that queue. Without one it goes back: for later when it has a delay, and that as a retry unless its attempt
     * was snoozed, else as if never claimed. A wish to cancel that came meanwhile ends what would go back.
     */
    settle: `
      WITH input AS MATERIALIZED (
        SELECT (e->>0)::uuid AS "id", e->>1 AS "queue", (e->>2)::bigint AS "claim_seq", e->>3 AS "state",
          (e->>4)::float8 AS "keep_ms", (e->>5)::float8 AS "retry_in", nullif(e->6, 'null') AS "report",
          e->>7 AS "dead_letter"
        FROM jsonb_array_elements($2::jsonb) e ORDER BY 1
      ), held AS MATERIALIZED (
        SELECT t."id", t."queue", i."retry_in", nullif(i."dead_letter", t."queue") AS "dead_letter",
          coalesce(i."report"->>'outcome' <> 'snoozed', false) AS "retried",
          CASE WHEN i."state" IS NULL AND t."cancel_keep_ms" IS NOT NULL THEN 'cancelled' ELSE i."state" END AS "end",
          CASE WHEN i."state" IS NULL AND t."cancel_keep_ms" IS NOT NULL THEN t."cancel_keep_ms"
            ELSE i."keep_ms" END AS "keep_ms",
          CASE WHEN i."report" IS NULL THEN t."attempts" ELSE ${withAttempt('i."report"')} END AS "history"
        FROM input i JOIN ${task} t ON ${sameKey('t', 'i')}
        WHERE t."worker_id" IS NOT DISTINCT FROM $1::uuid AND t."claim_seq" = i."claim_seq"
        FOR UPDATE OF t
      ), ended AS (
        DELETE FROM ${task} t USING held
        WHERE ${sameKey('t', 'held')} AND held."end" IS NOT NULL
        RETURNING t.*, held."end", held."keep_ms", held."history", held."dead_letter"
      ), kept AS (${keepEnded(finished, 'ended', { state: '"end"', attempts: '"history"', dead: true })}
      ), back AS (
        UPDATE ${task} t
        SET "worker_id" = NULL, "claimed_ahead" = false, "attempts" = held."history",
          ${backForLater(paused, `CASE WHEN held."retry_in" IS NULL THEN t."scheduled_at" ELSE ${later('held."retry_in"')} END`)},
          "retries" = t."retries" + held."retried"::int,
          "attempt" = t."attempt" - (held."retry_in" IS NULL)::int
        FROM held
        WHERE ${sameKey('t', 'held')} AND held."end" IS NULL
        RETURNING t."id", t."queue", t."scheduled_at"
      ), due AS (
        SELECT "queue" FROM back WHERE "scheduled_at" <= ${clock}
      ), woken AS (
        ${wake(channel, 'due')}
      ), heard AS (
        ${hear(channel, 'ended')}
      )
      SELECT r."id", r."end", woken.told + heard.told AS "told"
      FROM (SELECT "id", "end" FROM ended UNION ALL SELECT "id", 'ready' FROM back) r
      CROSS JOIN woken CROSS JOIN heard`,
  };
}
