import { withAttempt } from './attempts.sql.js';
import { keepEnded } from './finished-tasks.sql.js';
import { claimBase, ofThisRun, sameKey } from './fragments.sql.js';
import { hear, wake } from './hints.sql.js';
import { channelOf, quoteSchema } from './identifiers.js';
import { backForLater } from './lane-order.js';

/** What becomes of the tasks of workers that have died. */
export function rescueSql(schema: string) {
  const s = quoteSchema(schema);
  const channel = `'${channelOf(schema)}'`;
  const task = `${s}."task"`;
  const finished = `${s}."finished_task"`;
  const worker = `${s}."worker"`;
  const paused = `${s}."paused_lane"`;

  return {
    /**
     * $1 lease in ms, $2 most crashes, $3 for how many milliseconds failed tasks stay, as JSON by queue
     * (0: not at all, 'Infinity': for ever), $4 limit, $5 task names and the queues of their dead letters, as JSON, $6 the
     * same as $3 for all other queues.
     *
     * The worker's row is deleted in the same statement that takes its tasks: a renewal that is under way is waited
     * for, and one that comes later finds nothing. Tasks without any worker row are those that a claim took while its
     * worker was being buried. Skips what another rescuer holds. By task_running.
     *
     * Nobody is taken for dead for one lease after the server was found to have started or crashed, which is when its base of
     * claims was gone: by a time that has come, since its clock may have been wrong then. By clock_timestamp(), since that
     * may have been found after now().
     *
     * What was only claimed ahead did, as a rule, not kill the worker: it goes back with no crash to its name. But it may
     * have started since, so the mark stays, and its next claim counts however it is made.
     */
    rescue: `
      WITH ripe AS (
        SELECT CASE WHEN ${claimBase(s)} >= 0 THEN NOT EXISTS (
          SELECT FROM ${s}."claim_base" b
          WHERE ${ofThisRun('b')} AND b."since" <= clock_timestamp()
            AND b."since" + $1::float8 * interval '1 millisecond' >= now()
        ) END AS "yes"
      ), dead AS (
        DELETE FROM ${worker} w
        WHERE w."id" IN (
          SELECT "id" FROM ${worker} WHERE "lease_until" < now() AND (SELECT "yes" FROM ripe)
          ORDER BY "id" FOR UPDATE SKIP LOCKED
        )
        RETURNING w."id"
      ), running AS MATERIALIZED (
        SELECT t."id", t."queue", t."worker_id" FROM ${task} t WHERE t."worker_id" IS NOT NULL
      ), orphan AS MATERIALIZED (
        SELECT r."id", r."queue", r."worker_id" FROM running r
        WHERE (SELECT "yes" FROM ripe)
          AND (r."worker_id" IN (SELECT "id" FROM dead)
            OR NOT EXISTS (SELECT FROM ${worker} w WHERE w."id" = r."worker_id"))
        ORDER BY r."id" LIMIT $4
      ), held AS MATERIALIZED (
        SELECT t."id", t."queue", c."crashed",
          CASE WHEN t."cancel_keep_ms" IS NOT NULL THEN 'cancelled' WHEN c."crashed" >= $2 THEN 'failed' END AS "end",
          coalesce(t."cancel_keep_ms", CASE WHEN l."dead_letter" IS NOT NULL THEN 'Infinity'::float8 END,
            ($3::jsonb ->> t."queue")::float8, $6::float8) AS "keep_ms",
          CASE WHEN t."cancel_keep_ms" IS NULL THEN nullif(l."dead_letter", t."queue") END AS "dead_letter",
          CASE WHEN t."claimed_ahead" THEN t."attempts" ELSE ${withAttempt(`
            jsonb_build_object('number', t."attempt", 'outcome', 'crashed') || CASE
              WHEN c."crashed" >= $2 AND t."cancel_keep_ms" IS NULL THEN jsonb_build_object('error', jsonb_build_object(
                'name', 'QuarantinedError',
                'message', 'Task "' || t."name" || '" ' || t."id" || ' was held by ' || c."crashed" ||
                  ' workers when they died; it is not tried again. Find out what it does to its process, then retry it.'))
              ELSE '{}' END`)} END AS "history"
        FROM orphan o JOIN ${task} t ON ${sameKey('t', 'o')}
        CROSS JOIN LATERAL (SELECT t."crashes" + (NOT t."claimed_ahead")::int AS "crashed") c
        CROSS JOIN LATERAL (SELECT $5::jsonb->>t."name" AS "dead_letter") l
        WHERE t."worker_id" IS NOT DISTINCT FROM o."worker_id"
        FOR UPDATE OF t SKIP LOCKED
      ), ended AS (
        DELETE FROM ${task} t USING held
        WHERE ${sameKey('t', 'held')} AND held."end" IS NOT NULL
        RETURNING t.*, held."end", held."keep_ms", held."history", held."crashed", held."dead_letter"
      ), kept AS (${keepEnded(finished, 'ended', { state: '"end"', attempts: '"history"', crashes: '"crashed"', dead: true })}
      ), back AS (
        UPDATE ${task} t
        SET "worker_id" = NULL, "crashes" = held."crashed", "attempts" = held."history",
          ${backForLater(paused, 't."scheduled_at"')}
        FROM held
        WHERE ${sameKey('t', 'held')} AND held."end" IS NULL
        RETURNING t."id", t."queue", t."name", t."attempt", t."crashes", t."lane"
      ), woken AS (
        ${wake(channel, 'back')}
      ), heard AS (
        ${hear(channel, 'ended')}
      ), buried AS (
        SELECT count(pg_notify(${channel}, 'b' || "id")) AS told FROM dead
      )
      SELECT r.*, told."count"
      FROM (SELECT woken.told + heard.told + buried.told AS "count" FROM woken CROSS JOIN heard CROSS JOIN buried) told
      LEFT JOIN (
        SELECT "id", "queue", "name", "attempt", "crashes", NULL AS "end", "lane" FROM back
        UNION ALL
        SELECT "id", "queue", "name", "attempt", "crashed", "end", "lane" FROM ended
      ) r ON true`,
  };
}
