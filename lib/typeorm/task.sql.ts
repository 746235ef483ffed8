import { briefMessageLength, fullErrors, rememberedAttempts } from '../engine/task.js';
import { type Ending, keepEnded, putBack, stays } from './finished-tasks.sql.js';
import { channelOf, quoteSchema } from './identifiers.js';
import {
  clock,
  dueAt,
  expired,
  headOf,
  holdsKey,
  later,
  termsOfHead,
  laneColumns,
  laneOfRow,
  trueDue,
} from './new-tasks.sql.js';
import { backForLater } from './lane-order.js';
import { patience } from './unique.sql.js';

/**
 * Every statement that workers and producers send, one a store method.
 *
 * Rules that hold for all: each names the queue, so that the tables can be distributed by it; each locks rows in the
 * order of their ids, so that opposed batches cannot deadlock; every value is a parameter.
 *
 * And no plan may depend on the table's statistics, which are always wrong for a queue. Rows of a batch are therefore
 * looped over in the sorted order of the input, and found by primary key and by nothing else: a condition by which the
 * planner could come from the other side (a worker, a queue) stands as `IS NOT DISTINCT FROM`, or comes from the input.
 */
export type TaskSql = ReturnType<typeof taskSql>;

export function taskSql(schema: string) {
  const s = quoteSchema(schema);
  const channel = `'${channelOf(schema)}'`;
  const task = `${s}."task"`;
  const finished = `${s}."finished_task"`;
  const worker = `${s}."worker"`;
  const queue = `${s}."queue"`;
  const paused = `${s}."paused_lane"`;

  /**
   * The row of `t` whose key stands in a row of the input. Not by `=` alone: the planner would also consider a merge join,
   * and for its sake a walk through the whole primary key, joined with each row of the input. That looks cheap whenever
   * the table was empty when it was last vacuumed or analyzed.
   */
  const sameKey = (t: string, i: string) => `${t}."id" = ANY(ARRAY[${i}."id"]) AND ${t}."queue" = ${i}."queue"`;
  const millis = (column: string) => `(extract(epoch FROM ${column}) * 1000)::float8`;
  /** Exact: a double counts the seconds since 1970 to a quarter of a microsecond. */
  const micros = (column: string) => `(date_part('epoch', ${column}) * 1000000)::bigint`;
  const keep = (rows: string, ending: Ending) => keepEnded(finished, rows, ending);
  /** The place of the attempt whose error is full no longer once another is appended. */
  const aged = (field: string) => `'{-${fullErrors},error,${field}}'`;
  /** Appends an attempt to those of `t`; `report` is a jsonb of its number, outcome and error. */
  const withAttempt = (report: string) => `
      (CASE WHEN jsonb_array_length(t."attempts") < ${fullErrors} THEN t."attempts"
        ELSE jsonb_set(t."attempts" #- ${aged('stack')} #- ${aged('cause')}, ${aged('message')}, coalesce(
            to_jsonb(left(t."attempts" #>> ${aged('message')}, ${briefMessageLength})), 'null'), false)
          - (CASE WHEN jsonb_array_length(t."attempts") < ${rememberedAttempts} THEN ${rememberedAttempts} ELSE 0 END)
        END)
      || jsonb_build_array(${report} || jsonb_build_object('workerId', t."worker_id",
        'startedAt', ${millis('t."started_at"')}, 'finishedAt', ${millis(clock)}))`;
  /** Wakes the workers of each queue in the rows, once: NOTIFY takes a global lock at commit. */
  const wake = (rows: string) =>
    `SELECT count(pg_notify(${channel}, 'w0:' || d."queue")) AS told FROM (SELECT DISTINCT "queue" FROM ${rows}) d`;

  /** From a queue that is limited only `claimLimited` claims, whatever a worker knows. */
  const closed = `(q."paused_at" IS NOT NULL OR q."limited")`;
  /** Tells whoever awaits those of the rows that have ended. */
  const hear = (rows: string) =>
    `SELECT count(pg_notify(${channel}, 'e' || "id")) AS told FROM ${rows} WHERE "awaited"`;

  /** The worker to hand tasks of a queue to, or null when it may not have them. */
  const handedTo = (workerId: string, queueName: string) => `
          CASE WHEN ${workerId} IS NOT NULL
            AND EXISTS (SELECT FROM ${worker} w WHERE w."id" = ${workerId}::uuid AND w."lease_until" > now())
            AND NOT EXISTS (SELECT FROM ${queue} q WHERE q."name" = ${queueName} AND ${closed})
          THEN ${workerId}::uuid END`;

  const enqueue = (order: string, onConflict: string, wait = '') => `
      WITH head AS MATERIALIZED (
        ${headOf(`, ${handedTo('(h->>7)', 'h->>0')} AS "worker_id", ${termsOfHead()}`)}${wait}
      ), stored AS (
        INSERT INTO ${task} ("id", "unique_key", "payload", "queue", "name", "priority", "max_retries", "timeout_ms",
          ${laneColumns}, "expires_at", "unique_scope", "rate_key", "worker_id", "claim_seq", "attempt", "started_at")
        SELECT (e->>0)::uuid AS "id", e->>1 AS "unique_key", e->2, "queue", "name", "priority", "max_retries",
          "timeout_ms", ${laneOfRow}, "expires_at", "unique_scope", "rate_key", "worker_id", ("worker_id" IS NOT NULL)::int,
          ("worker_id" IS NOT NULL)::int, CASE WHEN "worker_id" IS NOT NULL THEN ${clock} END
        FROM head CROSS JOIN LATERAL jsonb_array_elements("rows") e ${order}
        ${onConflict}
        RETURNING "id", "worker_id"
      )
      SELECT count(*)::int AS "stored", string_agg("id"::text, ',') FILTER (WHERE "worker_id" IS NOT NULL) AS "handed",
        ${millis(clock)} AS "handed_at",
        (SELECT count(pg_notify(${channel}, 'w0:' || q)) FROM unnest($2::text[]) q)::int AS "told"
      FROM stored`;

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

  /** The columns of a claimed task, in the order of `claimedTask`. */
  const claimed = `t."id", t."name", t."payload", t."priority", t."attempt", t."retries", t."max_retries",
        t."timeout_ms", t."claim_seq", ${micros('t."created_at"')} AS "created_at",
        ${micros('t."scheduled_at"')} AS "scheduled_at", t."crashes",
        CASE WHEN t."attempt" = 1 THEN ${millis('t."expires_at" - now()')} END AS "expires_in_ms", t."lane"`;

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

  return {
    /**
     * $1: the input of new-tasks.sql.ts. Those of a group with a worker are stored as claimed by it, if its lease is alive
     * and the queue is not paused. Rows whose id or unique key is taken are left out. Sorted by unique key, so that
     * producers of the same keys wait for each other in one order. $2: queues whose workers are woken at the commit. The
     * answer: how many were stored, the ids of those that were stored as claimed, and when.
     */
    enqueue: enqueue('ORDER BY "unique_key", "id"', 'ON CONFLICT DO NOTHING'),

    /**
     * The same, but it waits for another transaction that holds a unique key only for a moment, then fails: whoever
     * waits keeps one of the engine's connections.
     */
    enqueueUnique: enqueue('ORDER BY "unique_key", "id"', 'ON CONFLICT DO NOTHING', patience),

    /** The same for ids that are new and keys that are none: it need not look before it stores, and is quicker. */
    enqueueFresh: enqueue('', ''),

    /** The same for many that are handed to nobody: all are stored, or it fails. */
    enqueueBulk: `
      WITH head AS MATERIALIZED (${headOf('')}
      ), stored AS (
        INSERT INTO ${task} ("id", "payload", "queue", "name", "priority", "max_retries", "timeout_ms", "scheduled_at")
        SELECT (e->>0)::uuid, e->2, "queue", "name", "priority", "max_retries", "timeout_ms", "scheduled_at"
        FROM head CROSS JOIN LATERAL jsonb_array_elements("rows") e
      )
      SELECT count(pg_notify(${channel}, 'w0:' || q)) FROM unnest($2::text[]) q`,

    /**
     * The same for one: $1 id, $2 payload, $3 queue, $4 name, $5 priority, $6 max retries, $7 timeout in ms, $8 due in ms,
     * $9 due at, $10 worker to hand it to or null, $11 whether the queue's workers are woken. It is what an idle
     * application waits for, and starts quickest.
     */
    enqueueOne: `
      INSERT INTO ${task} ("id", "payload", "queue", "name", "priority", "max_retries", "timeout_ms", "scheduled_at",
        "worker_id", "claim_seq", "attempt", "started_at")
      SELECT $1::uuid, $2::jsonb, $3::text, $4::text, $5::smallint, $6::integer, $7::integer,
        ${dueAt('$8', '$9::text')},
        h."to", (h."to" IS NOT NULL)::int, (h."to" IS NOT NULL)::int, CASE WHEN h."to" IS NOT NULL THEN ${clock} END
      FROM (SELECT ${handedTo('$10::text', '$3::text')} AS "to" OFFSET 0) h
      RETURNING 1 AS "stored", CASE WHEN "worker_id" IS NOT NULL THEN "id"::text END AS "handed",
        ${millis(clock)} AS "handed_at",
        CASE WHEN $11::boolean THEN pg_notify(${channel}, 'w0:' || "queue")::text END AS "told"`,

    /** $1 queues, $2 in how many milliseconds something falls due on each: wakes their workers. */
    notify: `
      SELECT count(pg_notify(${channel}, 'w' || i."in_ms" || ':' || i."queue"))
      FROM unnest($1::text[], $2::bigint[]) AS i("queue", "in_ms")`,

    /**
     * $1: a JSON array of [id, queue, name, uniqueKey]. Who stands where these could not be stored, the worker that has
     * claimed it for the first time, and whether it has started once: by id first, since an enqueue that is repeated after
     * a lost reply finds itself. What has expired stands in nobody's way.
     */
    holders: `
      SELECT e->>0 AS "id", t."id"::text AS "holder",
        CASE WHEN t."claim_seq" = 1 THEN t."worker_id"::text END AS "worker", t."created_at", t."started"
      FROM jsonb_array_elements($1::jsonb) e CROSS JOIN LATERAL (
        (SELECT t."id", t."worker_id", t."claim_seq", ${millis('t."created_at"')} AS "created_at",
           t."worker_id" IS NOT NULL OR t."attempt" > 0 AS "started"
         FROM ${task} t WHERE t."id" = (e->>0)::uuid AND t."queue" = e->>1)
        UNION ALL
        (SELECT t."id", t."worker_id", t."claim_seq", ${millis('t."created_at"')},
           t."worker_id" IS NOT NULL OR t."attempt" > 0 FROM ${task} t
         WHERE t."queue" = e->>1 AND t."name" = e->>2 AND t."unique_key" = e->>3 AND ${holdsKey('t.')}
           AND (${expired('t.')}) IS NOT TRUE)
        LIMIT 1
      ) t`,

    /**
     * $1 ids that this transaction may have inserted: takes back those of finished tasks. Nobody else has both rows: a
     * retry deletes the finished one in the statement that inserts the live one.
     */
    takeBack: `
      DELETE FROM ${task} t USING ${finished} f
      WHERE t."id" = ANY($1::uuid[]) AND f."id" = t."id" AND coalesce(f."dead_from", f."queue") = t."queue"
      RETURNING t."id"`,

    /**
     * $1 worker, $2 queue, $3 names, $4 limit, $5 how many of them start at once; $6 priority, $7 microseconds since 1970
     * and $8 id of the floor, or nulls; $9 crashes that make a suspect, which is left alone.
     *
     * Reads task_ready in its order and stops after the limit: one range of it for each priority that is in use, highest
     * first, so that tasks that are not due yet cost nothing, however many there are. At the floor's priority it begins
     * at the floor, so that what is dead below it, but cannot be vacuumed yet, costs nothing either. Nothing is read when
     * the queue is paused or the worker's lease has ended.
     */
    claim: `
      WITH RECURSIVE level("priority") AS (
        SELECT coalesce(
          (SELECT t."priority" FROM ${task} t
           WHERE t."queue" = $2 AND t."worker_id" IS NULL AND t."priority" > coalesce($6::int, -32769)
           ORDER BY t."priority" DESC LIMIT 1),
          $6::int)
        WHERE EXISTS (SELECT FROM ${worker} w WHERE w."id" = $1::uuid AND w."lease_until" > now())
          AND NOT EXISTS (SELECT FROM ${queue} q WHERE q."name" = $2 AND ${closed})
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
        SELECT d."id", d."queue", row_number() OVER () AS "place" FROM level CROSS JOIN LATERAL (
          SELECT t."id", t."queue" FROM ${task} t
          WHERE t."queue" = $2 AND t."worker_id" IS NULL AND t."priority" = level."priority"
            AND t."scheduled_at" <= now() AND t."name" = ANY($3::text[]) AND t."crashes" < $9::int
            AND (t."expires_at" IS NULL OR t."expires_at" > now() OR t."attempt" > 0)
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
      SET "worker_id" = $1::uuid, "claim_seq" = t."claim_seq" + 1, "attempt" = t."attempt" + 1, "started_at" = now(),
        "claimed_ahead" = due."place" > $5::bigint AND NOT t."claimed_ahead"
      FROM due WHERE ${sameKey('t', 'due')}
      RETURNING ${claimed}`,

    /**
     * $1 worker, $2 queue, $3 names, $4 crashes that make a suspect, $5 how many tasks start at once: claims one. By
     * task_crashed, which is all but empty.
     */
    claimSuspect: `
      UPDATE ${task} t
      SET "worker_id" = $1::uuid, "claim_seq" = t."claim_seq" + 1, "attempt" = t."attempt" + 1, "started_at" = now(),
        "claimed_ahead" = $5::bigint < 1 AND NOT t."claimed_ahead"
      FROM (
        SELECT t."id", t."queue" FROM ${task} t
        WHERE t."queue" = $2 AND t."worker_id" IS NULL AND t."crashes" > 0 AND t."crashes" >= $4::int
          AND t."scheduled_at" <= now() AND t."name" = ANY($3::text[])
          AND EXISTS (SELECT FROM ${worker} w WHERE w."id" = $1::uuid AND w."lease_until" > now())
          AND NOT EXISTS (SELECT FROM ${queue} q WHERE q."name" = $2 AND ${closed})
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

    /** $1 worker, $2 ids, $3 queues, $4 claim numbers: the tasks end and leave no trace. */
    settleRemoved: `${end()} RETURNING t."id"`,

    /**
     * The same for tasks that are done at their last attempt and stay, $5 for how many milliseconds, $6 with which results
     * as JSON text, or nulls.
     */
    settleKept: `
      WITH ended AS (
        ${end(', $5::float8[], $6::text[]', ', "keep_ms", "result"')} RETURNING t.*, i."keep_ms", i."result"
      ), kept AS (${keep('ended', { state: `'done'`, result: '"result"::jsonb' })}
      )
      SELECT "id", 'done' AS "state", CASE WHEN "awaited" THEN pg_notify(${channel}, 'e' || "id")::text END AS "told"
      FROM ended`,

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
      ), kept AS (${keep('ended', { state: '"end"', attempts: '"history"', dead: true })}
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
        ${wake('due')}
      ), heard AS (
        ${hear('ended')}
      )
      SELECT r."id", r."end", woken.told + heard.told AS "told"
      FROM (SELECT "id", "end" FROM ended UNION ALL SELECT "id", 'ready' FROM back) r
      CROSS JOIN woken CROSS JOIN heard`,

    /** $1 id, $2 host, $3 pid, $4 version, $5 queues as JSON, $6 lease in ms. */
    registerWorker: `
      INSERT INTO ${worker} ("id", "host", "pid", "version", "queues", "lease_until")
      VALUES ($1::uuid, $2, $3, $4, $5::jsonb, ${later('$6::float8')})`,

    /** $1 worker, $2 lease in ms. A lease that has ended is not renewed: its tasks may be somebody else's by now. */
    renewLease: `
      UPDATE ${worker} SET "lease_until" = ${later('$2::float8')} WHERE "id" = $1::uuid AND "lease_until" > now()`,

    /** $1 worker. */
    endLease: `DELETE FROM ${worker} WHERE "id" = $1::uuid`,

    /** $1 worker; by task_running. */
    holdings: `
      SELECT "id", "queue", "claim_seq", "cancel_keep_ms" IS NOT NULL FROM ${task} WHERE "worker_id" = $1::uuid`,

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

    /**
     * $1 lease in ms, $2 most crashes, $3 for how many milliseconds failed tasks stay, as JSON by queue
     * (0: not at all, 'Infinity': for ever), $4 limit, $5 task names and the queues of their dead letters, as JSON, $6 the
     * same as $3 for all other queues.
     *
     * The worker's row is deleted in the same statement that takes its tasks: a renewal that is under way is waited
     * for, and one that comes later finds nothing. Tasks without any worker row are those that a claim took while its
     * worker was being buried. Skips what another rescuer holds. By task_running.
     *
     * What was only claimed ahead did, as a rule, not kill the worker: it goes back with no crash to its name. But it may
     * have started since, so the mark stays, and its next claim counts however it is made.
     */
    rescue: `
      WITH ripe AS (
        SELECT pg_postmaster_start_time() + $1::float8 * interval '1 millisecond' < now() AS "yes"
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
      ), kept AS (${keep('ended', { state: '"end"', attempts: '"history"', crashes: '"crashed"', dead: true })}
      ), back AS (
        UPDATE ${task} t
        SET "worker_id" = NULL, "crashes" = held."crashed", "attempts" = held."history",
          ${backForLater(paused, 't."scheduled_at"')}
        FROM held
        WHERE ${sameKey('t', 'held')} AND held."end" IS NULL
        RETURNING t."id", t."queue", t."name", t."attempt", t."crashes", t."lane"
      ), woken AS (
        ${wake('back')}
      ), heard AS (
        ${hear('ended')}
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
      ), kept AS (${keep('ended', { state: `'cancelled'` })}
      ), asked AS (
        UPDATE ${task} t SET "cancel_keep_ms" = $3::float8 FROM live
        WHERE ${sameKey('t', 'live')} AND live."worker_id" IS NOT NULL
        RETURNING t."id"
      )
      SELECT (SELECT count(*) FROM ended)::int AS "ended",
        (SELECT count(pg_notify(${channel}, 'c' || "id")) FROM asked)::int AS "asked",
        (SELECT "name" FROM ended), (SELECT "lane" FROM ended), (${hear('ended')})::int AS "told"`,

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
        ${wake('back')}
      )
      SELECT (SELECT count(*) FROM back)::int AS "back", (SELECT told FROM woken)::int AS "told",
        back."queue", back."name", back."lane" FROM (VALUES (1)) one LEFT JOIN back ON true`,

    /** $1 id: who holds the unique key of this finished task. */
    keyHolder: `
      SELECT t."id"::text AS "holder" FROM ${finished} f
      JOIN ${task} t ON t."queue" = coalesce(f."dead_from", f."queue") AND t."name" = f."name"
        AND t."unique_key" = f."unique_key" AND ${holdsKey('t.')}
      WHERE f."id" = $1::uuid`,

    /** $1 id. A running task is left alone. */
    remove: `
      WITH live AS (
        DELETE FROM ${task} WHERE "id" = $1::uuid AND "worker_id" IS NULL
        RETURNING "id", "awaited", "queue", "name", "lane"
      ), past AS (
        DELETE FROM ${finished} WHERE "id" = $1::uuid AND ${stays} RETURNING 1
      )
      SELECT ((SELECT count(*) FROM live) + (SELECT count(*) FROM past))::int AS "removed",
        live."queue", live."name", live."lane", (${hear('live')})::int AS "told"
      FROM (VALUES (1)) one LEFT JOIN live ON true`,

    /** $1 queue. */
    pause: `
      INSERT INTO ${queue} AS q ("name", "paused_at") VALUES ($1, now())
      ON CONFLICT ("name") DO UPDATE SET "paused_at" = coalesce(q."paused_at", now())`,

    /** $1 queue. */
    resume: `
      WITH resumed AS (
        UPDATE ${queue} SET "paused_at" = NULL WHERE "name" = $1 AND "paused_at" IS NOT NULL RETURNING "name" AS "queue"
      ), woken AS (
        ${wake('resumed')}
      )
      SELECT told FROM woken`,

    pausedQueues: `SELECT "name" FROM ${queue} WHERE "paused_at" IS NOT NULL ORDER BY "name"`,

    /** $1 queue or null for all. */
    counts: `
      SELECT CASE WHEN "worker_id" IS NULL THEN 'ready' ELSE 'running' END AS "state", count(*)::float8 AS "count"
      FROM ${task} WHERE $1::text IS NULL OR "queue" = $1 GROUP BY 1
      UNION ALL
      SELECT "state", count(*)::float8 FROM ${finished}
      WHERE ($1::text IS NULL OR "queue" = $1) AND ${stays} GROUP BY 1`,

    /**
     * $1 limit, $2 the id after which the page begins or null, $3 queue, $4 name, $5 states, $6 unique key; each null
     * for all. Both halves read their primary key in order and stop after the limit.
     */
    list: (order: 'ASC' | 'DESC') => {
      const beyond = order === 'ASC' ? '>' : '<';
      const half = (row: string, from: string) => `
        (SELECT * FROM (SELECT ${row} FROM ${from}) t
         WHERE ($2::uuid IS NULL OR "id" ${beyond} $2) AND ($3::text IS NULL OR "queue" = $3)
           AND ($4::text IS NULL OR "name" = $4) AND ($5::text[] IS NULL OR "state" = ANY($5))
           AND ($6::text IS NULL OR "unique_key" = $6)
         ORDER BY "id" ${order} LIMIT $1)`;
      return `SELECT * FROM (${half(liveRow, task)} UNION ALL ${half(finishedRow, `${finished} WHERE ${stays}`)}) both_halves
        ORDER BY "id" ${order} LIMIT $1`;
    },

    /** $1 id. */
    find: `
      SELECT ${liveRow} FROM ${task} WHERE "id" = $1::uuid
      UNION ALL
      SELECT ${finishedRow} FROM ${finished} WHERE "id" = $1::uuid AND ${stays}`,

    listen: `LISTEN "${channelOf(schema)}"`,
  };
}
