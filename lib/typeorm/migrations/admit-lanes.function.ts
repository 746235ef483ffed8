import { givesWay, headOfLane } from '../lane-order.js';

/** As the engine's own sessions are set: plans must not depend on statistics, which are always wrong for a queue. */
const settings = ['plan_cache_mode = force_generic_plan']
  .concat(['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin', 'sort'].map((way) => `enable_${way} = off`))
  .concat('jit = off');

/**
 * Admission, see LaneStore: queues, names and keys of lanes, each once a row. It answers with the queues of what was
 * admitted, in how many milliseconds the first of it is due, and whether there is more: one call moves only so many tasks,
 * so that no lane is too wide for it, and is to be repeated then. Nothing is moved twice in a call, but what it has moved
 * it steps over at its next look: what is due is therefore taken by the set.
 *
 * A function, since it has to look after it has got the lane's lock: each of its statements sees what was committed until
 * then. And since it is one round trip, no client that stops can keep the lock. A lane's lock is one of a fixed number of
 * rows, taken in their order: so there is nothing to make and to clean up for a lane, and the row is only locked, never
 * written. The lock guards what gets a place; places are given up without it.
 *
 * Deadlock: beside the locks it waits for nothing. Rows of tasks that somebody else holds are skipped: who cancels, or
 * replaces a task of the same unique key, maybe in a long transaction, has the lane admitted afterwards. Indexes:
 * task_parked for those that wait, task_admitted for those that have their place.
 */
export function admitLanes(s: string): string {
  const task = `${s}."task"`;
  const lane = (t: string) => `${t}."queue" = lane_queue AND ${t}."name" = lane_name AND ${t}."lane" = lane_key`;
  return `
    CREATE FUNCTION ${s}."admit_lanes"(queues text[], names text[], keys text[])
    RETURNS TABLE ("admitted_on" text, "due_in_ms" float8, "more" boolean)
    LANGUAGE plpgsql VOLATILE ${settings.map((setting) => `SET ${setting}`).join(' ')}
    AS $function$
    #variable_conflict use_column
    DECLARE
      lock_place integer; lane_queue text; lane_name text; lane_key text;
      head record; looked_at timestamptz; held bigint; moved integer; quota integer := ${mostMoved};
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
            WHERE ${lane('m')} AND m."due_at" IS NULL AND m."worker_id" IS NULL
            ORDER BY m."id" LIMIT quota FOR UPDATE SKIP LOCKED
          ));
          GET DIAGNOSTICS moved = ROW_COUNT;
          quota := quota - moved;
          IF quota <= 0 THEN
            "more" := true;
            RETURN NEXT;
            RETURN;
          END IF;
          CONTINUE;
        END IF;
        looked_at := clock_timestamp();
        held := NULL;
        LOOP
          SELECT h.* INTO head FROM (${headOfLane(task, lane('t'), 'looked_at', 'FOR UPDATE SKIP LOCKED')}
          ) h;
          EXIT WHEN NOT FOUND;
          IF held IS NULL THEN
            SELECT count(*) INTO held FROM ${task} t WHERE ${lane('t')} AND t."due_at" IS NULL;
          END IF;
          IF held >= head."lane_limit" THEN
            UPDATE ${task} t SET "due_at" = t."scheduled_at", "scheduled_at" = 'infinity'
            WHERE t."queue" = lane_queue AND t."id" = (
              SELECT m."id" FROM ${task} m
              WHERE ${lane('m')} AND ${givesWay('m', 'head', 'looked_at')}
              ORDER BY m."scheduled_at" DESC, m."id" DESC LIMIT 1 FOR UPDATE SKIP LOCKED
            );
            EXIT WHEN NOT FOUND;
            held := held - 1;
          END IF;
          IF head."due" AND head."lane_limit" - held > 1 THEN
            -- With those behind it of the same level and limit that are due too: none of another comes in between.
            UPDATE ${task} t SET "scheduled_at" = t."due_at", "due_at" = NULL
            WHERE t."queue" = lane_queue AND t."id" = ANY(ARRAY(
              SELECT n."id" FROM (
                SELECT o."id", bool_and(o."lane_limit" = head."lane_limit") OVER (ROWS UNBOUNDED PRECEDING) AS "alike"
                FROM (
                  SELECT t."id", t."lane_limit" FROM ${task} t
                  WHERE ${lane('t')} AND t."due_at" <= looked_at
                    AND least(t."claim_seq", 1) = head."started" AND t."priority" = head."priority"
                  ORDER BY t."due_at", t."id" LIMIT least(quota, head."lane_limit" - held) FOR UPDATE SKIP LOCKED
                ) o
              ) n WHERE n."alike"
            ));
          ELSE
            UPDATE ${task} t SET "scheduled_at" = t."due_at", "due_at" = NULL
            WHERE t."id" = head."id" AND t."queue" = lane_queue;
          END IF;
          GET DIAGNOSTICS moved = ROW_COUNT;
          held := held + moved;
          quota := quota - moved;
          "admitted_on" := lane_queue;
          "due_in_ms" := greatest(0, extract(epoch FROM head."due_at" - looked_at) * 1000);
          "more" := quota <= 0;
          RETURN NEXT;
          IF "more" THEN
            RETURN;
          END IF;
        END LOOP;
      END LOOP;
    END
    $function$`;
}

/** How many lanes can be admitted to at once, at most. Those that share a lock wait for each other for a moment. */
export const laneLocks = 1_024;

/** How many tasks one call moves, over all its lanes: it holds their locks until it has finished. */
const mostMoved = 500;
