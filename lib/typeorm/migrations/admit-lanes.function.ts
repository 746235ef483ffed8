/** As the engine's own sessions are set: plans must not depend on statistics, which are always wrong for a queue. */
const settings = ['plan_cache_mode = force_generic_plan']
  .concat(['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin', 'sort'].map((way) => `enable_${way} = off`))
  .concat('jit = off');

/**
 * Admission, see LaneStore: queues, names and keys of lanes, each once a row. It answers with the queues of what was
 * admitted, and in how many milliseconds it is due.
 *
 * A function, since it has to look after it has got the lane's lock: each of its statements sees what was committed until
 * then. And since it is one round trip, no client that stops can keep the lock. A lane's lock is one of a fixed number of
 * rows, taken in their order: so there is nothing to make and to clean up for a lane, and the row is only locked, never
 * written. The lock guards what gets a place; places are given up without it.
 *
 * Deadlock: beside the locks it waits for nothing. Rows of tasks that somebody else holds are skipped: who cancels, or
 * replaces a task of the same unique key, maybe in a long transaction, has the lane admitted afterwards. Indexes: task_parked for those that wait, task_admitted for those that have their place.
 */
export function admitLanes(s: string): string {
  const lane = (t: string) => `${t}."queue" = lane_queue AND ${t}."name" = lane_name AND ${t}."lane" = lane_key`;
  return `
    CREATE FUNCTION ${s}."admit_lanes"(queues text[], names text[], keys text[])
    RETURNS TABLE ("admitted_on" text, "due_in_ms" float8)
    LANGUAGE plpgsql VOLATILE ${settings.map((setting) => `SET ${setting}`).join(' ')}
    AS $function$
    #variable_conflict use_column
    DECLARE
      lock_place integer; lane_queue text; lane_name text; lane_key text;
      candidate record; looked_at timestamptz; held bigint;
    BEGIN
      IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'Concurrency keys need transactions that are READ COMMITTED, but they are % here.',
          upper(current_setting('transaction_isolation'))
          USING HINT = 'ALTER ROLE … SET default_transaction_isolation TO ''read committed''';
      END IF;
      FOR lock_place, lane_queue, lane_name, lane_key IN
        SELECT DISTINCT abs(mod(hashtextextended(concat_ws(':', i."queue", i."name", i."lane"), 0), ${laneLocks}))::integer,
          i."queue", i."name", i."lane"
        FROM unnest(queues, names, keys) AS i("queue", "name", "lane") ORDER BY 1, 2, 3, 4
      LOOP
        PERFORM FROM ${s}."lane_lock" l WHERE l."bucket" = lock_place FOR UPDATE;
        IF EXISTS (SELECT FROM ${s}."paused_lane" p WHERE ${lane('p')}) THEN
          UPDATE ${s}."task" t SET "due_at" = t."scheduled_at", "scheduled_at" = 'infinity'
          WHERE t."queue" = lane_queue AND t."id" = ANY(ARRAY(
            SELECT m."id" FROM ${s}."task" m
            WHERE ${lane('m')} AND m."due_at" IS NULL AND m."worker_id" IS NULL ORDER BY m."id" FOR UPDATE SKIP LOCKED
          ));
          CONTINUE;
        END IF;
        looked_at := clock_timestamp();
        held := NULL;
        LOOP
          WITH RECURSIVE level AS (
            (SELECT least(t."claim_seq", 1) AS "started", t."priority" FROM ${s}."task" t
             WHERE ${lane('t')} AND t."due_at" IS NOT NULL
             ORDER BY least(t."claim_seq", 1) DESC, t."priority" DESC LIMIT 1)
            UNION ALL
            SELECT n.* FROM level CROSS JOIN LATERAL (
              SELECT least(t."claim_seq", 1), t."priority" FROM ${s}."task" t
              WHERE ${lane('t')} AND t."due_at" IS NOT NULL
                AND (least(t."claim_seq", 1), t."priority") < (level."started", level."priority")
              ORDER BY least(t."claim_seq", 1) DESC, t."priority" DESC LIMIT 1
            ) n
          )
          SELECT d."id", d."due_at", d."lane_limit", level."started" > 0 AS "started" INTO candidate
          FROM level CROSS JOIN LATERAL (
            SELECT t."id", t."due_at", t."lane_limit" FROM ${s}."task" t
            WHERE ${lane('t')} AND t."due_at" IS NOT NULL
              AND least(t."claim_seq", 1) = level."started" AND t."priority" = level."priority"
            ORDER BY t."due_at", t."id" LIMIT 1 FOR UPDATE SKIP LOCKED
          ) d
          ORDER BY level."started" DESC, d."due_at" <= looked_at DESC,
            CASE WHEN d."due_at" <= looked_at THEN level."priority" END DESC, d."due_at", d."id"
          LIMIT 1;
          EXIT WHEN NOT FOUND;
          IF held IS NULL THEN
            SELECT count(*) INTO held FROM ${s}."task" t WHERE ${lane('t')} AND t."due_at" IS NULL;
          END IF;
          IF held >= candidate."lane_limit" THEN
            UPDATE ${s}."task" t SET "due_at" = t."scheduled_at", "scheduled_at" = 'infinity'
            WHERE t."queue" = lane_queue AND t."id" = (
              SELECT m."id" FROM ${s}."task" m
              WHERE ${lane('m')} AND m."due_at" IS NULL AND m."worker_id" IS NULL AND m."claim_seq" = 0
                AND m."scheduled_at" > looked_at AND (candidate."started" OR candidate."due_at" <= looked_at
                  OR (m."scheduled_at", m."id") > (candidate."due_at", candidate."id"))
              ORDER BY m."scheduled_at" DESC, m."id" DESC LIMIT 1 FOR UPDATE SKIP LOCKED
            );
            EXIT WHEN NOT FOUND;
            held := held - 1;
          END IF;
          UPDATE ${s}."task" t SET "scheduled_at" = t."due_at", "due_at" = NULL
          WHERE t."id" = candidate."id" AND t."queue" = lane_queue;
          held := held + 1;
          "admitted_on" := lane_queue;
          "due_in_ms" := greatest(0, extract(epoch FROM candidate."due_at" - looked_at) * 1000);
          RETURN NEXT;
        END LOOP;
      END LOOP;
    END
    $function$`;
}

/** How many lanes can be admitted to at once, at most. Those that share a lock wait for each other for a moment. */
export const laneLocks = 1_024;
