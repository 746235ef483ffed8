import { channelOf, quoteSchema } from './identifiers.js';
import { expired, headOf, holdsKey, laneOfRow, termsOfHead } from './new-tasks.sql.js';

/** How long one try of a unique enqueue waits for the transaction that holds its key, in milliseconds. */
export const patience = ` WHERE set_config('lock_timeout', '200', true) IS NOT NULL`;

/**
 * The statements of unique keys whose holder may be replaced, or that are held for a window. Each brings a key once, and
 * goes through its keys in their order, so that producers of the same keys wait for each other in one order. They judge by
 * clock_timestamp(): a caller's transaction may have begun long ago.
 *
 * $1: the input of new-tasks.sql.ts. $2: queues whose workers are woken at the commit. The answer is a row [id, holder,
 * whether the holder was replaced, …, the lane that it has left, whether it was locked in vain] for each task of which
 * something has come; the others are to be tried again. The lane is that of the statement's snapshot: where somebody else
 * moves the same task at the same time, a lane may be left to the sweep.
 */
export function uniqueSql(schema: string) {
  const s = quoteSchema(schema);
  const task = `${s}."task"`;
  const window = `${s}."unique_window"`;
  const clock = 'clock_timestamp()';
  const columns = `"id", "unique_key", "payload", "queue", "name", "priority", "max_retries", "timeout_ms", "scheduled_at",
          "expires_at", "unique_scope", "rate_key", "lane", "lane_limit", "due_at"`;
  const input = (wait: string) => `
      WITH head AS MATERIALIZED (${headOf(
        `, ${termsOfHead(clock)}, (h->>10)::float8 AS "window_ms", (h->>11)::boolean AS "replace",
          (h->>12)::boolean AS "moves_due"`,
        clock,
      )}${wait}
      ), input AS MATERIALIZED (
        SELECT (e->>0)::uuid AS "id", e->>1 AS "unique_key", e->2 AS "payload", "queue", "name", "priority",
          "max_retries", "timeout_ms", "expires_at", "unique_scope", "rate_key", "window_ms", "replace", "moves_due", ${laneOfRow}
        FROM head CROSS JOIN LATERAL jsonb_array_elements("rows") e
        ORDER BY "unique_key"
      )`;
  const told = `(SELECT count(pg_notify('${channelOf(schema)}', 'w0:' || q)) FROM unnest($2::text[]) q)::int AS "told"`;
  const sameKey = (t: string, i: string) => `${t}."queue" = ${i}."queue" AND ${t}."name" = ${i}."name"
          AND ${t}."unique_key" = ${i}."unique_key"`;
  const notStarted = `t."worker_id" IS NULL AND t."attempt" = 0
          AND (t."expires_at" IS NULL OR t."expires_at" > clock_timestamp())`;
  const sameBucket = (n: string) => `t."rate_key" IS NOT DISTINCT FROM ${n}."rate_key"`;
  /** One that waits for a token of another bucket than its new one need not wait for that any more. */
  const due = (n: string, movesDue: string) => `CASE WHEN ${movesDue} THEN coalesce(${n}."due_at", ${n}."scheduled_at")
            WHEN ${sameBucket(n)} THEN coalesce(t."due_at", t."scheduled_at")
            ELSE coalesce(t."sent_on_from", t."due_at", t."scheduled_at") END`;
  /** What a holder gets of the new task `n`. With a concurrency key it is parked anew, since that may be another one. */
  const replacement = (n: string, movesDue: string) => `"lane" = ${n}."lane", "lane_limit" = ${n}."lane_limit",
          "due_at" = CASE WHEN ${n}."lane" IS NOT NULL THEN ${due(n, movesDue)} END, "payload" = ${n}."payload", "priority" = ${n}."priority",
          "max_retries" = ${n}."max_retries", "timeout_ms" = ${n}."timeout_ms", "expires_at" = ${n}."expires_at",
          "rate_key" = ${n}."rate_key",
          "sent_on_from" = CASE WHEN NOT ${movesDue} AND ${sameBucket(n)} THEN t."sent_on_from" END,
          "scheduled_at" = CASE WHEN ${n}."lane" IS NULL THEN ${due(n, movesDue)} ELSE 'infinity' END`;

  /** The lane that the holder of the task `i` has left for another one, or for none. */
  const leftLane = (i: string, holder: string) => `(SELECT o."lane" FROM ${task} o WHERE o."id" = ${holder}
          AND o."queue" = ${i}."queue" AND o."id" <> ${i}."id" AND o."lane" IS DISTINCT FROM ${i}."lane") AS "left_lane"`;

  /**
   * By task_unique. A holder that has started is left alone and not even locked, as far as this statement can see: its
   * worker must not wait for a caller's transaction. In a snapshot it cannot see, so `$3` says not to look.
   */
  const enqueueReplacing = (wait: string) => `${input(wait)}, started AS MATERIALIZED (
        SELECT i."id", t."id" AS "holder" FROM input i
        JOIN ${task} t ON ${sameKey('t', 'i')} AND ${holdsKey('t.')}
        WHERE $3::boolean AND (t."worker_id" IS NOT NULL OR t."attempt" > 0)
        UNION ALL
        SELECT i."id", t."id" FROM input i JOIN ${task} t ON t."id" = i."id" AND t."queue" = i."queue"
      ), stored AS (
        INSERT INTO ${task} AS t (${columns})
        SELECT ${columns} FROM input i WHERE NOT EXISTS (SELECT FROM started WHERE started."id" = i."id")
        ORDER BY "unique_key"
        ON CONFLICT ("queue", "name", "unique_key") WHERE ${holdsKey('')}
        DO UPDATE SET ${replacement(
          'EXCLUDED',
          `(SELECT i."moves_due" FROM input i WHERE ${sameKey('i', 'EXCLUDED')})`,
        )}
        WHERE ${notStarted}
        RETURNING t."id", t."queue", t."name", t."unique_key"
      )
      SELECT i."id", stored."id" AS "holder", stored."id" <> i."id" AS "replaced", ${told},
        ${leftLane('i', 'stored."id"')}, false AS "in_vain"
      FROM input i JOIN stored ON ${sameKey('stored', 'i')}
      UNION ALL
      SELECT "id", "holder", false, 0, NULL, false FROM started`;

  /**
   * By the primary key of unique_window, which decides. Whoever finds a window open changes and locks nothing of it:
   * others must not wait for a caller's transaction.
   */
  const enqueueInWindow = (wait: string) => `${input(wait)}, open AS MATERIALIZED (
        SELECT i.*, w."task_id" AS "holder" FROM input i JOIN ${window} w ON ${sameKey('w', 'i')} AND w."until" > ${clock}
      ), won AS (
        INSERT INTO ${window} AS w ("queue", "name", "unique_key", "task_id", "until")
        SELECT "queue", "name", "unique_key", "id", ${clock} + "window_ms" * interval '1 millisecond' FROM input i
        WHERE NOT EXISTS (SELECT FROM open WHERE open."id" = i."id") ORDER BY "unique_key"
        ON CONFLICT ("queue", "name", "unique_key") DO UPDATE SET "task_id" = EXCLUDED."task_id", "until" = EXCLUDED."until"
        WHERE w."until" <= ${clock}
        RETURNING w."task_id" AS "id"
      ), stored AS (
        INSERT INTO ${task} (${columns})
        SELECT ${columns} FROM input i JOIN won USING ("id") ON CONFLICT ("id", "queue") DO NOTHING
      ), replaced AS (
        UPDATE ${task} t SET ${replacement('open', 'open."moves_due"')}
        FROM open
        WHERE t."id" = open."holder" AND t."queue" = open."queue" AND open."replace" AND t."id" <> open."id"
          AND ${notStarted}
        RETURNING open."id"
      )
      SELECT "id", "id" AS "holder", false AS "replaced", ${told}, NULL AS "left_lane", false AS "in_vain" FROM won
      UNION ALL
      SELECT open."id", "holder", r."replaced", 0, CASE WHEN r."replaced" THEN w."lane" END,
        coalesce(open."replace" AND NOT r."replaced" AND w."waited", false)
      FROM open
      CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM replaced WHERE replaced."id" = open."id") AS "replaced") r
      LEFT JOIN LATERAL (
        SELECT ${notStarted} AS "waited", CASE WHEN t."lane" IS DISTINCT FROM open."lane" THEN t."lane" END AS "lane"
        FROM ${task} t WHERE t."id" = open."holder" AND t."queue" = open."queue" AND t."id" <> open."id"
      ) w ON true`;

  return {
    enqueueReplacing: enqueueReplacing(''),
    /** The same, but it waits for another transaction that holds a key only for a moment, then fails. */
    enqueueReplacingSoon: enqueueReplacing(patience),
    enqueueInWindow: enqueueInWindow(''),
    enqueueInWindowSoon: enqueueInWindow(patience),

    /** $1: a JSON array of [id, queue, name, uniqueKey]. Whose window is open where these could not be stored. */
    windowHolders: `
      SELECT e->>0 AS "id", w."task_id"::text AS "holder", NULL AS "worker", NULL AS "created_at",
        NOT EXISTS (SELECT FROM ${task} t WHERE t."id" = w."task_id" AND t."queue" = w."queue" AND ${notStarted}) AS "started"
      FROM jsonb_array_elements($1::jsonb) e
      JOIN ${window} w ON w."queue" = e->>1 AND w."name" = e->>2 AND w."unique_key" = e->>3
      WHERE w."until" > ${clock}`,

    /**
     * $1: a JSON array of [id, queue, name, uniqueKey]. Takes the keys from tasks that have expired, but that nobody has
     * ended yet. Skips what somebody is just ending.
     */
    freeExpired: `
      UPDATE ${task} t
      SET "unique_scope" = CASE WHEN t."unique_scope" IS NULL THEN 'liveExpired' ELSE 'waitingExpired' END
      FROM (
        SELECT t."id", t."queue" FROM jsonb_array_elements($1::jsonb) e
        JOIN ${task} t ON t."queue" = e->>1 AND t."name" = e->>2 AND t."unique_key" = e->>3 AND ${holdsKey('t.')}
        WHERE ${expired('t.')}
        ORDER BY t."id" FOR UPDATE OF t SKIP LOCKED
      ) i
      WHERE t."id" = ANY(ARRAY[i."id"]) AND t."queue" = i."queue"`,
  };
}
