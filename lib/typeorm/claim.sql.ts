import { claimBase, mayHave, millis, nextClaim, ofThisRun, sameKey } from './fragments.sql.js';
import { quoteSchema } from './identifiers.js';

/** What takes due tasks for a worker, and looks when the next ones are due. */
export function claimSql(schema: string) {
  const s = quoteSchema(schema);
  const task = `${s}."task"`;

  /** Exact: a double counts the seconds since 1970 to a quarter of a microsecond. */
  const micros = (column: string) => `(date_part('epoch', ${column}) * 1000000)::bigint`;
  /**
   * The columns of a claimed task, in the order of `claimedTask`. Null stands for what most tasks have: each value that is
   * not sent is one that neither side has to write, send and read, fifty thousand times a second.
   */
  const claimed = `t."id", t."name", t."payload", ${micros('t."created_at"')} AS "created_at",
        ${micros(`nullif(t."scheduled_at", t."created_at")`)} AS "scheduled_at", nullif(t."priority", 0) AS "priority",
        nullif(t."attempt", 1) AS "attempt", nullif(t."claim_seq", 1) AS "claim_seq", nullif(t."retries", 0) AS "retries",
        nullif(t."crashes", 0) AS "crashes", t."max_retries", t."timeout_ms",
        CASE WHEN t."attempt" = 1 THEN ${millis('t."expires_at" - now()')} END AS "expires_in_ms", t."lane"`;
  const next = nextClaim('due."base"', 't."claim_seq"');

  return {
    /**
     * $1 worker, $2 queue, $3 names, $4 limit, $5 how many of them start at once; $6 priority, $7 microseconds since 1970
     * and $8 id of the floor, or nulls; $9 crashes that make a suspect, which is left alone; $10 whether it need not wait
     * for the disk: the last column says of every row whether it has not, and `flush` is to follow. It waits for tasks with
     * a concurrency key, of which no two may run: a claim that a crash forgets is made again at once.
     *
     * Reads task_ready in its order and stops after the limit: one range of it for each priority that is in use, highest
     * first, so that tasks that are not due yet cost nothing, however many there are. At the floor's priority it begins
     * at the floor, so that what is dead below it, but cannot be vacuumed yet, costs nothing either. Nothing is read when
     * the queue is paused or the worker's lease has ended.
     *
     * Whether a task has expired is judged when it is locked, not when the claim began: whoever has given its unique key
     * to another since has changed its row, and PostgreSQL judges a row that was changed again.
     */
    claim: `
      WITH RECURSIVE level("priority") AS (
        SELECT coalesce(
          (SELECT t."priority" FROM ${task} t
           WHERE t."queue" = $2 AND t."worker_id" IS NULL AND t."priority" > coalesce($6::int, -32769)
           ORDER BY t."priority" DESC LIMIT 1),
          $6::int)
        WHERE ${mayHave(s, '$1', '$2')}
        UNION ALL
        SELECT CASE WHEN level."priority" > $6::int THEN coalesce(
            (SELECT t."priority" FROM ${task} t
             WHERE t."queue" = $2 AND t."worker_id" IS NULL
               AND t."priority" < level."priority" AND t."priority" > $6::int
             ORDER BY t."priority" DESC LIMIT 1),
            $6::int)
          ELSE
            (SELECT t."priority" FROM ${task} t
             WHERE t."queue" = $2 AND t."worker_id" IS NULL AND t."priority" < level."priority"
             ORDER BY t."priority" DESC LIMIT 1)
          END
        FROM level WHERE level."priority" IS NOT NULL
      ), due AS MATERIALIZED (
        SELECT d.*, row_number() OVER () AS "place", ${claimBase(s)} AS "base" FROM level CROSS JOIN LATERAL (
          SELECT t."id", t."queue", t."lane" FROM ${task} t
          WHERE t."queue" = $2 AND t."worker_id" IS NULL AND t."priority" = level."priority"
            AND t."scheduled_at" <= now() AND t."name" = ANY($3::text[]) AND t."crashes" < $9::int
            AND (t."expires_at" IS NULL OR t."expires_at" > clock_timestamp() OR t."attempt" > 0)
            AND (t."scheduled_at", t."id") > (
              CASE WHEN level."priority" = $6::int THEN timestamptz 'epoch' + $7::float8 * interval '1 microsecond'
              ELSE '-infinity' END,
              CASE WHEN level."priority" = $6::int THEN $8::uuid ELSE '00000000-0000-0000-0000-000000000000' END)
          ORDER BY t."scheduled_at", t."id"
          LIMIT $4 FOR UPDATE SKIP LOCKED
        ) d
        LIMIT $4
      )
      UPDATE ${task} t
      SET "worker_id" = $1::uuid, "claim_seq" = ${next}, "attempt" = t."attempt" + 1, "started_at" = now(),
        "claimed_ahead" = due."place" > $5::bigint AND NOT t."claimed_ahead"
      FROM due WHERE ${sameKey('t', 'due')}
      RETURNING ${claimed}, (SELECT set_config('synchronous_commit', 'off', true)
        WHERE $10::boolean AND NOT EXISTS (SELECT FROM due WHERE due."lane" IS NOT NULL)) AS "ahead"`,

    /**
     * $1 worker, $2 queue, $3 names, $4 crashes that make a suspect, $5 how many tasks start at once: claims one. By
     * task_crashed, which is all but empty.
     */
    claimSuspect: `
      UPDATE ${task} t
      SET "worker_id" = $1::uuid, "claim_seq" = ${next}, "attempt" = t."attempt" + 1, "started_at" = now(),
        "claimed_ahead" = $5::bigint < 1 AND NOT t."claimed_ahead"
      FROM (
        SELECT t."id", t."queue", ${claimBase(s)} AS "base" FROM ${task} t
        WHERE t."queue" = $2 AND t."worker_id" IS NULL AND t."crashes" > 0 AND t."crashes" >= $4::int
          AND t."scheduled_at" <= now() AND t."name" = ANY($3::text[])
          AND ${mayHave(s, '$1', '$2')}
        ORDER BY t."scheduled_at", t."id"
        LIMIT 1 FOR UPDATE OF t SKIP LOCKED
      ) due
      WHERE ${sameKey('t', 'due')}
      RETURNING ${claimed}`,

    /**
     * $1 worker, $2 queue, $3 names, $4 limit, $5 crashes that make a suspect, $6 whether one may be taken: what the
     * limits of the queue and of its tasks allow, as ids and claim numbers for `claimedTasks`. The last row is no task: it
     * says in how many milliseconds there is more.
     */
    claimLimited: `
      SELECT r."id", r."claim_seq", r."in_ms"
      FROM ${s}."claim_limited"($1::uuid, $2, $3::text[], $4::integer, $5::integer, $6::boolean) r`,

    /** $1 worker, $2 queue, $3 ids, $4 claim numbers: those of them that the worker still holds by these claims. */
    claimedTasks: `
      SELECT ${claimed}
      FROM (
        SELECT i.*, $2::text AS "queue" FROM unnest($3::uuid[], $4::bigint[]) i("id", "claim_seq") ORDER BY i."id"
      ) i
      JOIN ${task} t ON ${sameKey('t', 'i')}
        AND t."worker_id" IS NOT DISTINCT FROM $1::uuid AND t."claim_seq" = i."claim_seq"`,

    /**
     * Gives claims a base above every number that any of them can have had in an earlier run of the server, which a crash
     * ends too: an epoch has room for sixteen million claims of a task. It is named by the time, in steps of eight seconds,
     * since a standby that takes over may not have heard of the latest one; and never by one that it has heard of, whatever
     * the clock says. A clock beyond the year 2160 says nothing: with its epoch numbers would pass 2^53. That is on the disk
     * before anybody sees it. For a lease nobody is taken for dead, see `rescue`.
     *
     * Of several processes that begin at once one counts: the others, which wait for it, find that the number they saw has
     * changed.
     *
     * A row for each run of a server, not one row: where several servers share the tables each has a start of its own, and
     * would take one row from the others at every claim. What has not been used for long goes; a server that has run for
     * longer would only begin another epoch.
     */
    beginEpoch: `
      WITH clock AS (
        SELECT extract(epoch FROM clock_timestamp() - timestamptz '2025-01-01Z') / 8 AS "number"
      ), counted AS (
        INSERT INTO ${s}."claim_epoch" AS e ("number")
        SELECT greatest(1, CASE WHEN c."number" < (1 << 29) - (1 << 20) THEN c."number" END) FROM clock c
        WHERE NOT EXISTS (SELECT FROM ${s}."claim_base" b WHERE ${ofThisRun('b')})
        ON CONFLICT ("one") DO UPDATE SET "number" = greatest(e."number" + 1, EXCLUDED."number")
        WHERE e."number" = (SELECT seen."number" FROM ${s}."claim_epoch" seen)
        RETURNING e."number"
      ), ancient AS (
        DELETE FROM ${s}."claim_base" b
        WHERE b."server" < clock_timestamp() - interval '1 year' AND EXISTS (SELECT FROM counted)
      )
      INSERT INTO ${s}."claim_base" ("base") SELECT "number"::bigint << 24 FROM counted
      RETURNING (SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off')`,

    /** $1 queue. By task_ready, one look for each priority that is in use. */
    nextDue: `
      WITH RECURSIVE level("priority") AS (
        (SELECT t."priority" FROM ${task} t WHERE t."queue" = $1 AND t."worker_id" IS NULL
         ORDER BY t."priority" DESC LIMIT 1)
        UNION ALL
        SELECT (SELECT t."priority" FROM ${task} t
                WHERE t."queue" = $1 AND t."worker_id" IS NULL AND t."priority" < level."priority"
                ORDER BY t."priority" DESC LIMIT 1)
        FROM level WHERE level."priority" IS NOT NULL
      )
      SELECT ceil(extract(epoch FROM min(n."scheduled_at") - now()) * 1000)::bigint
      FROM level CROSS JOIN LATERAL (
        SELECT t."scheduled_at" FROM ${task} t
        WHERE t."queue" = $1 AND t."worker_id" IS NULL AND t."priority" = level."priority" AND t."scheduled_at" > now()
          AND t."scheduled_at" < 'infinity'
        ORDER BY t."scheduled_at" LIMIT 1
      ) n`,
  };
}
