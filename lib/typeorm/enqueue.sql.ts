import { mayHave, millis } from './fragments.sql.js';
import { channelOf, quoteSchema } from './identifiers.js';
import { clock, dueAt, expired, headOf, holdsKey, laneColumns, laneOfRow, termsOfHead } from './new-tasks.sql.js';
import { patience } from './unique.sql.js';

/** What stores tasks, and looks who stands where one could not be stored. Other terms of unique keys: unique.sql.ts. */
export function enqueueSql(schema: string) {
  const s = quoteSchema(schema);
  const channel = `'${channelOf(schema)}'`;
  const task = `${s}."task"`;

  /** The worker to hand tasks of a queue to, or null when it may not have them. */
  const handedTo = (workerId: string, queueName: string) => `
          CASE WHEN ${workerId} IS NOT NULL AND ${mayHave(s, workerId, queueName)}
          THEN ${workerId}::uuid END`;

  const enqueue = (order: string, onConflict: string, { wait = '', claimed = '' } = {}) => `
      WITH head AS MATERIALIZED (
        ${headOf(`, ${handedTo('(h->>7)', 'h->>0')} AS "worker_id", h->>7 IS NOT NULL AS "asked",
          ${termsOfHead()}`)}${wait}
      ), stored AS (
        INSERT INTO ${task} ("id", "unique_key", "payload", "queue", "name", "priority", "max_retries", "timeout_ms",
          ${laneColumns}, "expires_at", "unique_scope", "rate_key", "worker_id", "claim_seq", "attempt", "started_at")
        SELECT (e->>0)::uuid AS "id", e->>1 AS "unique_key", e->2, "queue", "name", "priority", "max_retries",
          "timeout_ms", ${laneOfRow}, "expires_at", "unique_scope", "rate_key", "worker_id",
          ("worker_id" IS NOT NULL${claimed})::int, ("worker_id" IS NOT NULL)::int, CASE WHEN "worker_id" IS NOT NULL THEN ${clock} END
        FROM head CROSS JOIN LATERAL jsonb_array_elements("rows") e ${order}
        ${onConflict}
        RETURNING "id", "worker_id"
      )
      SELECT count(*)::int AS "stored", string_agg("id"::text, ',') FILTER (WHERE "worker_id" IS NOT NULL) AS "handed",
        ${millis(clock)} AS "handed_at",
        (SELECT count(pg_notify(${channel}, 'w0:' || q)) FROM unnest($2::text[]) q)::int AS "told"
      FROM stored`;

  const sameColumns = `$3::text, $4::text, $5::smallint, $6::integer, $7::integer, ${dueAt('$8', '$9::text')}`;
  const insertBulk = `
      INSERT INTO ${task} ("id", "payload", "queue", "name", "priority", "max_retries", "timeout_ms", "scheduled_at")
      SELECT e."id", e."payload", same.* FROM (SELECT ${sameColumns} OFFSET 0) same
      CROSS JOIN ROWS FROM (unnest($1::uuid[]), jsonb_array_elements($2::jsonb)) e("id", "payload")`;

  return {
    /**
     * $1: the input of new-tasks.sql.ts. Those of a group with a worker are stored as claimed by it, if its lease is alive
     * and the queue is not paused; if not, they have had their first claim number all the same, since an earlier try may
     * have given it away. Rows whose id or unique key is taken are left out. Sorted by unique key, so that
     * producers of the same keys wait for each other in one order. $2: queues whose workers are woken at the commit. The
     * answer: how many were stored, the ids of those that were stored as claimed, and when.
     */
    enqueue: enqueue('ORDER BY "unique_key", "id"', 'ON CONFLICT DO NOTHING', {
      claimed: ' OR "asked" AND e->>1 IS NULL',
    }),

    /**
     * The same, but it waits for another transaction that holds a unique key only for a moment, then fails: whoever
     * waits keeps one of the engine's connections.
     */
    enqueueUnique: enqueue('ORDER BY "unique_key", "id"', 'ON CONFLICT DO NOTHING', { wait: patience }),

    /** The same for ids that are new and keys that are none: it need not look before it stores, and is quicker. */
    enqueueFresh: enqueue('', ''),

    /**
     * The same for many that differ in nothing but id and payload, and are handed to nobody: all are stored, or it fails.
     * $1 ids, $2 a JSON array of their payloads, $3 to $9 what they share, as `enqueueOne` has it, $10 queues whose workers
     * are woken.
     */
    enqueueBulk: `
      WITH stored AS (${insertBulk}
      )
      SELECT count(pg_notify(${channel}, 'w0:' || q)) FROM unnest($10::text[]) q`,

    /** The same when nobody is woken, as it mostly is under load: the less a small batch sets up, the better. */
    enqueueQuietly: insertBulk,

    /**
     * The same for one: $1 id, $2 payload, $3 queue, $4 name, $5 priority, $6 max retries, $7 timeout in ms, $8 due in ms,
     * $9 due at, $10 worker to hand it to or null, $11 whether the queue's workers are woken, $12 whether its transaction
     * need not wait for the disk: then workers see the task at once, and `flush` follows, before the task may be called
     * stored. It is what an idle application waits for, and starts quickest.
     *
     * It waits when that worker may not have the task: another may claim it then by the number that a repetition of this
     * gives to that worker, and neither may be forgotten.
     */
    enqueueOne: `
      INSERT INTO ${task} ("id", "payload", "queue", "name", "priority", "max_retries", "timeout_ms", "scheduled_at",
        "worker_id", "claim_seq", "attempt", "started_at")
      SELECT $1::uuid, $2::jsonb, ${sameColumns},
        h."to", (h."to" IS NOT NULL)::int, (h."to" IS NOT NULL)::int, CASE WHEN h."to" IS NOT NULL THEN ${clock} END
      FROM (SELECT ${handedTo('$10::text', '$3::text')} AS "to" OFFSET 0) h
      RETURNING 1 AS "stored", CASE WHEN "worker_id" IS NOT NULL THEN "id"::text END AS "handed",
        ${millis(clock)} AS "handed_at",
        CASE WHEN $11::boolean THEN pg_notify(${channel}, 'o' || "queue")::text END AS "told",
        CASE WHEN $12::boolean AND ($10 IS NULL OR "worker_id" IS NOT NULL)
        THEN set_config('synchronous_commit', 'off', true) END AS "ahead"`,

    /**
     * Waits until all that was committed before is on the disk: a commit does if it has something to log. This needs no
     * table, and no privilege but what all have. Logical decoding may show it.
     */
    flush: `SELECT pg_logical_emit_message(true, 'backie', '')`,

    /**
     * $1: a JSON array of [id, queue, name, uniqueKey]. Who stands where these could not be stored, the worker that it was
     * handed to and that still has it by that claim, and whether it has started once: by id first, since an enqueue that is
     * repeated after a lost reply finds itself. What has expired stands in nobody's way.
     *
     * What was handed over started when it was made; whoever claims a task sees it only after that.
     */
    holders: `
      SELECT e->>0 AS "id", t."id"::text AS "holder",
        CASE WHEN t."claim_seq" = 1 AND t."handed" THEN t."worker_id"::text END AS "worker", t."created_at", t."started"
      FROM jsonb_array_elements($1::jsonb) e CROSS JOIN LATERAL (
        (SELECT t."id", t."worker_id", t."claim_seq", ${millis('t."created_at"')} AS "created_at",
           t."started_at" = t."created_at" AS "handed", t."worker_id" IS NOT NULL OR t."attempt" > 0 AS "started"
         FROM ${task} t WHERE t."id" = (e->>0)::uuid AND t."queue" = e->>1)
        UNION ALL
        (SELECT t."id", t."worker_id", t."claim_seq", ${millis('t."created_at"')}, false,
           t."worker_id" IS NOT NULL OR t."attempt" > 0 FROM ${task} t
         WHERE t."queue" = e->>1 AND t."name" = e->>2 AND t."unique_key" = e->>3 AND ${holdsKey('t.')}
           AND (${expired('t.')}) IS NOT TRUE)
        LIMIT 1
      ) t`,

    /**
     * $1 ids that this transaction may have inserted: takes back those of finished tasks. Nobody else has both rows: a
     * retry deletes the finished one in the statement that inserts the live one. A SELECT, since TypeORM answers a DELETE in
     * another shape.
     */
    takeBack: `
      WITH gone AS (
        DELETE FROM ${task} t USING ${s}."finished_task" f
        WHERE t."id" = ANY($1::uuid[]) AND f."id" = t."id" AND coalesce(f."dead_from", f."queue") = t."queue"
        RETURNING t."id"
      )
      SELECT "id" FROM gone`,
  };
}
