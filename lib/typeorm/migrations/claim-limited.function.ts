import { claimBase, nextClaim } from '../fragments.sql.js';
import { quoteSchema } from '../identifiers.js';

/** Beyond what it may take, a claim looks at so many tasks more, to send on those whose rate bucket is empty. */
const lookAhead = 100;
/**
 * A claim takes no more than this, so that its answer, some 60 bytes a task, fits into what a socket takes of a client that
 * does not read: only then is it sure to end.
 */
const mostAtOnce = 500;
/** In so many slices of its window a bucket remembers what was taken. */
const slices = 64;
/** A task is sent on by one window or by this: when a deployment raises a limit, none should be found hours away. */
const longestLine = `interval '10 minutes'`;

/** As the engine's own sessions are set, which those behind a pooler are not. */
const settings = ['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin']
  .map((way) => `SET enable_${way} = off`)
  .concat('SET plan_cache_mode = force_generic_plan', 'SET jit = off', 'SET max_parallel_workers_per_gather = 0')
  .join(' ');

/**
 * The claim of queues that are limited, as a function: all of it is one statement of its client, so that none that is
 * stopped or killed in the middle of it keeps the queue's lock. For the same reason it answers ids and claim numbers only:
 * an answer is sent before the locks are let go, and megabytes of payloads would wait for a client that has stopped to
 * read, with the lock, as no timeout ends that. Who wants the payloads reads them afterwards. It is VOLATILE, so that each of its statements sees what
 * was committed before it began: what it counts once it has the lock includes all that the holder before it has claimed.
 *
 * Locks are taken in one order: the queue; tasks, except those that somebody else has locked; buckets by name and key.
 *
 * A bucket never gives more than `max` tokens in any window: a token comes back one window after it was taken. For that
 * it remembers when, by slices of a 64th of the window: all of a slice count as taken when the last of them was, so a
 * token comes back at most max(1/64 of the window) late, and never early. All of it by the database's clock.
 *
 * Tasks whose bucket is empty are sent on to when it will have a token for them, so that they are not read again and again:
 * one behind the other at the bucket's pace. Where that line ends stands in the bucket, and who is in it: a task of the
 * line that comes too early after all, or one of a higher priority, does not go to its end again.
 */
export function createClaimLimited(schema: string): string {
  const s = quoteSchema(schema);
  const task = `${s}."task"`;
  const bucket = `${s}."rate_bucket"`;
  const setting = `${s}."task_setting"`;
  const window = (ms: string) => `${ms} * interval '1 millisecond'`;
  const candidate = `t."id", t."name", coalesce(t."rate_key", '') AS "key", t."priority"`;
  const waiting = `t."queue" = p_queue AND t."worker_id" IS NULL`;
  const taken = (per: string) => `unnest(b."taken_at", b."taken") u("at", "n") WHERE u."at" + ${per} > v_seen`;
  /** The bucket `b` of a row `i`, found by the primary key and by nothing else: see `sameKey` in fragments.sql.ts. */
  const bucketOf = (i: string) =>
    `b."kind" = 'task' AND b."name" = ANY(ARRAY[${i}."name"]) AND b."key" = ANY(ARRAY[${i}."key"])`;
  /** How many tokens the bucket `b` has. */
  const left = (most: string, per: string) => `
        (SELECT ${most} - coalesce(sum(u."n"), 0) FROM ${taken(per)})::integer`;
  /** When the first comes back that it lacks. */
  const nextAt = (most: string, per: string) => `
        coalesce((
          SELECT min(r."at") FROM (
            SELECT u."at", sum(u."n") OVER (ORDER BY u."at") AS "back", sum(u."n") OVER () AS "gone" FROM ${taken(per)}
          ) r WHERE r."back" > r."gone" - ${most}
        ), v_now) + ${per}`;
  /** What it remembers when `n` more are taken: nothing, if none are and all that were have come back. */
  const remembering = (n: string, per: string) => `
        SELECT coalesce(array_agg(s."at" ORDER BY s."at"), '{}'), coalesce(array_agg(s."n" ORDER BY s."at"), '{}') FROM (
          SELECT max(u."at") AS "at", sum(u."n")::integer AS "n" FROM (
            SELECT u."at", u."n" FROM ${taken(per)} UNION ALL SELECT v_now, ${n} WHERE ${n} > 0
          ) u
          GROUP BY floor(extract(epoch FROM u."at") * ${slices} / extract(epoch FROM ${per}))
        ) s`;

  const body = `
    #variable_conflict use_column
    DECLARE
      v_now timestamptz;
      v_seen timestamptz;
      v_queue record;
      v_want integer := least(p_limit, ${mostAtOnce});
      v_tokens integer;
      v_next timestamptz;
      v_look integer;
      v_ids uuid[];
      v_names text[];
      v_keys text[];
      v_priorities integer[];
      v_more boolean := false;
      v_bucket_names text[];
      v_bucket_keys text[];
      v_found integer;
      v_base ${s}."claim_number" := ${claimBase(s)};
      v_chosen uuid[];
      v_sent_on timestamptz;
    BEGIN
      IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'Limits need transactions that are READ COMMITTED, but they are % here.',
          upper(current_setting('transaction_isolation'))
          USING HINT = 'ALTER ROLE … SET default_transaction_isolation TO ''read committed''';
      END IF;
      PERFORM FROM ${s}."worker" w WHERE w."id" = p_worker AND w."lease_until" > clock_timestamp();
      IF NOT FOUND THEN RETURN; END IF;

      SELECT q."paused_at", nullif(coalesce(q."global_concurrency", q."declared_global_concurrency"), 0) AS "most",
        nullif(coalesce(q."rate_max", q."declared_rate_max"), 0) AS "rate_max",
        ${window(`CASE WHEN q."rate_max" IS NULL THEN q."declared_rate_per_ms" ELSE q."rate_per_ms" END`)} AS "per"
      INTO v_queue FROM ${s}."queue" q WHERE q."name" = p_queue FOR NO KEY UPDATE;
      IF v_queue."paused_at" IS NOT NULL THEN RETURN; END IF;
      v_now := clock_timestamp();
      -- Whose turn it is, and whether there is a token, is judged as of one moment: a token that comes back later may be
      -- another's, of a task that was not due yet when this one was read.
      v_seen := v_now;

      IF v_queue."most" IS NOT NULL THEN
        -- By task_running: a look for each worker that holds anything.
        v_want := least(v_want, v_queue."most" - (
          WITH RECURSIVE holder("id") AS (
            (SELECT t."worker_id" FROM ${task} t WHERE t."worker_id" IS NOT NULL ORDER BY t."worker_id" LIMIT 1)
            UNION ALL
            SELECT (SELECT t."worker_id" FROM ${task} t WHERE t."worker_id" > h."id" ORDER BY t."worker_id" LIMIT 1)
            FROM holder h WHERE h."id" IS NOT NULL
          )
          SELECT count(*) FROM (
            SELECT FROM holder h CROSS JOIN LATERAL (
              SELECT FROM ${task} t WHERE t."worker_id" = h."id" AND t."queue" = p_queue
            ) t LIMIT v_queue."most"
          ) r)::integer);
      END IF;

      IF v_queue."rate_max" IS NOT NULL THEN
        SELECT ${left('v_queue."rate_max"', 'v_queue."per"')}, ${nextAt('v_queue."rate_max"', 'v_queue."per"')}
        INTO v_tokens, v_next
        FROM ${bucket} b WHERE b."kind" = 'queue' AND b."name" = p_queue AND b."key" = '';
        v_tokens := coalesce(v_tokens, v_queue."rate_max");
        v_next := coalesce(v_next, v_now + v_queue."per");
        v_want := least(v_want, v_tokens);
      END IF;

      IF v_want > 0 THEN
        PERFORM FROM unnest(p_names) n("name") JOIN ${setting} s ON s."name" = n."name"
        WHERE s."rate_max" IS NOT NULL LIMIT 1;
        v_look := v_want + CASE WHEN FOUND THEN ${lookAhead} ELSE 0 END;
        -- By task_crashed, then by task_ready: a range for each priority that is in use, highest first.
        WITH RECURSIVE level("priority") AS (
          (SELECT t."priority" FROM ${task} t WHERE ${waiting} ORDER BY t."priority" DESC LIMIT 1)
          UNION ALL
          SELECT (SELECT t."priority" FROM ${task} t WHERE ${waiting} AND t."priority" < level."priority"
                  ORDER BY t."priority" DESC LIMIT 1)
          FROM level WHERE level."priority" IS NOT NULL
        ), suspect AS MATERIALIZED (
          SELECT ${candidate} FROM ${task} t
          WHERE p_suspect AND ${waiting} AND t."crashes" > 0 AND t."crashes" >= p_crashes
            AND t."scheduled_at" <= v_now AND t."name" = ANY(p_names)
          ORDER BY t."scheduled_at", t."id" LIMIT 1 FOR UPDATE SKIP LOCKED
        ), due AS MATERIALIZED (
          SELECT d.* FROM level CROSS JOIN LATERAL (
            SELECT ${candidate} FROM ${task} t
            WHERE ${waiting} AND t."priority" = level."priority"
              AND t."scheduled_at" <= v_now AND t."name" = ANY(p_names) AND t."crashes" < p_crashes
              -- Judged when it is locked: its unique key may have been given to another since v_now.
              AND (t."expires_at" IS NULL OR t."expires_at" > clock_timestamp() OR t."attempt" > 0)
            ORDER BY t."scheduled_at", t."id"
            LIMIT v_look FOR UPDATE SKIP LOCKED
          ) d
          LIMIT v_look
        ), candidate AS (
          SELECT c.*, row_number() OVER () AS "place" FROM (SELECT * FROM suspect UNION ALL SELECT * FROM due) c
        )
        SELECT array_agg(c."id" ORDER BY c."place"), array_agg(c."name" ORDER BY c."place"),
          array_agg(c."key" ORDER BY c."place"), array_agg(c."priority" ORDER BY c."place"), count(*) >= v_look
        INTO v_ids, v_names, v_keys, v_priorities, v_more FROM candidate c;
        v_chosen := v_ids[1:v_want];

        SELECT array_agg(i."name" ORDER BY i."name", i."key"), array_agg(i."key" ORDER BY i."name", i."key")
        INTO v_bucket_names, v_bucket_keys
        FROM (SELECT DISTINCT c."name", c."key" FROM unnest(v_names, v_keys) c("name", "key")) i
        JOIN ${setting} s ON s."name" = i."name" WHERE s."rate_max" IS NOT NULL;
      END IF;

      IF v_bucket_names IS NOT NULL THEN
        LOOP
          INSERT INTO ${bucket} ("kind", "name", "key")
          SELECT 'task', i."name", i."key" FROM unnest(v_bucket_names, v_bucket_keys) i("name", "key")
          ON CONFLICT DO NOTHING;
          PERFORM FROM unnest(v_bucket_names, v_bucket_keys) WITH ORDINALITY i("name", "key", "place")
          JOIN ${bucket} b ON ${bucketOf('i')}
          ORDER BY i."place" FOR NO KEY UPDATE OF b;
          GET DIAGNOSTICS v_found = ROW_COUNT;
          -- One that was swept away in between is made anew.
          EXIT WHEN v_found = cardinality(v_bucket_names);
        END LOOP;
        v_now := clock_timestamp();

        WITH held AS MATERIALIZED (
          SELECT i."name", i."key", w."most", w."per", ${left('w."most"', 'w."per"')} AS "left",
            ${nextAt('w."most"', 'w."per"')} AS "next_at", b."line_at", b."line_id", b."line_priority"
          FROM unnest(v_bucket_names, v_bucket_keys) i("name", "key")
          JOIN ${setting} s ON s."name" = i."name"
          CROSS JOIN LATERAL (SELECT s."rate_max" AS "most", ${window('s."rate_per_ms"')} AS "per") w
          JOIN ${bucket} b ON ${bucketOf('i')}
          WHERE s."rate_max" IS NOT NULL
        ), candidate AS (
          SELECT c.*, h."most", h."per", h."left", h."next_at", h."line_at", h."line_id", h."line_priority",
            row_number() OVER (PARTITION BY c."name", c."key" ORDER BY c."place") AS "turn"
          FROM unnest(v_ids, v_names, v_keys, v_priorities) WITH ORDINALITY c("id", "name", "key", "priority", "place")
          LEFT JOIN held h ON h."name" = c."name" AND h."key" = c."key"
        ), ranked AS (
          SELECT c.*, c."turn" <= coalesce(c."left", c."turn") AS "allowed",
            count(*) FILTER (WHERE c."turn" <= coalesce(c."left", c."turn")) OVER (ORDER BY c."place") AS "rank",
            coalesce(c."line_at" > v_now AND (c."id" <= c."line_id" OR c."priority" > c."line_priority"), false) AS "ahead"
          FROM candidate c
        ), placed AS MATERIALIZED (
          SELECT r.*, r."allowed" AND r."rank" <= v_want AS "chosen",
            CASE WHEN NOT r."allowed" THEN r."place" * interval '1 microsecond' + least(
              CASE WHEN r."ahead" THEN r."next_at" ELSE greatest(r."next_at", r."line_at") END
                + (row_number() OVER (PARTITION BY r."name", r."key", r."allowed", r."ahead" ORDER BY r."place") - 1)
                  * (r."per" / r."most"),
              v_now + greatest(r."per", ${longestLine})) END AS "at"
          FROM ranked r
        ), bucket AS (
          SELECT p."name", p."key", min(p."per") AS "per", count(*) FILTER (WHERE p."chosen")::integer AS "n",
            max(p."at" + p."per" / p."most") FILTER (WHERE NOT p."ahead") AS "line_at",
            max(p."id"::text) FILTER (WHERE NOT p."allowed" AND NOT p."ahead")::uuid AS "line_id",
            min(p."priority") FILTER (WHERE NOT p."allowed" AND NOT p."ahead") AS "line_priority"
          FROM placed p WHERE p."most" IS NOT NULL GROUP BY p."name", p."key"
        ), taken AS (
          UPDATE ${bucket} b
          SET ("taken_at", "taken") = (${remembering('i."n"', 'i."per"')}), "full_at" = v_now + i."per",
            "line_at" = coalesce(i."line_at", b."line_at"), "line_id" = coalesce(i."line_id", b."line_id"),
            "line_priority" = coalesce(i."line_priority", b."line_priority")
          FROM bucket i WHERE ${bucketOf('i')}
        ), sent_on AS (
          UPDATE ${task} t SET "scheduled_at" = p."at", "sent_on_from" = coalesce(t."sent_on_from", t."scheduled_at")
          FROM placed p
          WHERE t."id" = ANY(ARRAY(SELECT d."id" FROM placed d WHERE NOT d."allowed"))
            AND t."id" = p."id" AND t."queue" IS NOT DISTINCT FROM p_queue
        )
        SELECT array_agg(p."id") FILTER (WHERE p."chosen"), min(p."at") INTO v_chosen, v_sent_on FROM placed p;
      END IF;

      v_found := coalesce(cardinality(v_chosen), 0);
      IF v_found > 0 AND v_queue."rate_max" IS NOT NULL THEN
        INSERT INTO ${bucket} AS b ("kind", "name", "key", "taken_at", "taken", "full_at")
        VALUES ('queue', p_queue, '', ARRAY[v_now], ARRAY[v_found], v_now + v_queue."per")
        ON CONFLICT ("kind", "name", "key") DO UPDATE
        SET ("taken_at", "taken") = (${remembering('v_found', 'v_queue."per"')}), "full_at" = EXCLUDED."full_at";
      END IF;

      RETURN QUERY
        UPDATE ${task} t
        SET "worker_id" = p_worker, "claim_seq" = ${nextClaim('v_base', 't."claim_seq"')}, "attempt" = t."attempt" + 1, "started_at" = v_now,
          "claimed_ahead" = false
        WHERE t."id" = ANY(v_chosen) AND t."queue" IS NOT DISTINCT FROM p_queue
        RETURNING NULL::float8, t."id", t."claim_seq";

      -- The last row says when there may be more.
      RETURN QUERY SELECT CASE
          WHEN v_more AND v_found < v_want OR p_limit > ${mostAtOnce} AND v_found = ${mostAtOnce} THEN 0
          ELSE extract(epoch FROM least(v_sent_on, CASE WHEN v_found >= v_tokens THEN v_next END) - v_now) * 1000
        END::float8, NULL::uuid, NULL::bigint;
    END`;
  return `
    CREATE FUNCTION ${s}."claim_limited"(
      p_worker uuid, p_queue text, p_names text[], p_limit integer, p_crashes integer, p_suspect boolean
    ) RETURNS TABLE ("in_ms" float8, "id" uuid, "claim_seq" bigint) LANGUAGE plpgsql VOLATILE ${settings}
    AS '${body.replaceAll("'", "''")}'`;
}

export function dropClaimLimited(schema: string): string {
  return `DROP FUNCTION ${quoteSchema(schema)}."claim_limited"(uuid, text, text[], integer, integer, boolean)`;
}
