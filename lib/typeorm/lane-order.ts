/**
 * The parked task of a lane that comes first in the order of admission, see LaneStore, with its `level`: whether it has
 * started before, and its priority. By task_parked, one look for each level in use.
 *
 * @param ofLane The condition that a row of `t` is of the lane.
 * @param now An expression.
 * @param lock Appended to the look for a task.
 */
export function headOfLane(task: string, ofLane: string, now: string, lock = ''): string {
  const started = `least(t."claim_seq", 1)`;
  return `
          WITH RECURSIVE level AS (
            (SELECT ${started} AS "started", t."priority" FROM ${task} t
             WHERE ${ofLane} AND t."due_at" IS NOT NULL ORDER BY ${started} DESC, t."priority" DESC LIMIT 1)
            UNION ALL
            SELECT n.* FROM level CROSS JOIN LATERAL (
              SELECT ${started}, t."priority" FROM ${task} t
              WHERE ${ofLane} AND t."due_at" IS NOT NULL
                AND (${started}, t."priority") < (level."started", level."priority")
              ORDER BY ${started} DESC, t."priority" DESC LIMIT 1
            ) n
          )
          SELECT d."id", d."due_at", d."lane_limit", level."started", level."priority", d."due_at" <= ${now} AS "due"
          FROM level CROSS JOIN LATERAL (
            SELECT t."id", t."due_at", t."lane_limit" FROM ${task} t
            WHERE ${ofLane} AND t."due_at" IS NOT NULL
              AND ${started} = level."started" AND t."priority" = level."priority"
            ORDER BY t."due_at", t."id" LIMIT 1 ${lock}
          ) d
          ORDER BY level."started" DESC, d."due_at" <= ${now} DESC,
            CASE WHEN d."due_at" <= ${now} THEN level."priority" END DESC, d."due_at", d."id"
          LIMIT 1`;
}

/** The condition that a row of `m`, of the same lane, has a place and gives way to the `head`. */
export function givesWay(m: string, head: string, now: string): string {
  return `${m}."due_at" IS NULL AND ${m}."worker_id" IS NULL AND ${m}."claim_seq" = 0 AND ${m}."scheduled_at" > ${now}
                AND (${head}."started" > 0 OR ${head}."due"
                  OR (${m}."scheduled_at", ${m}."id") > (${head}."due_at", ${head}."id"))`;
}

/**
 * Puts a row of `t` that has run back for when it is `due`: if its lane is paused it is parked at once, so that nobody can
 * claim it before admission has come by. Rows without a key read nothing for it.
 */
export function backForLater(paused: string, due: string): string {
  // Not by EXISTS, for which the planner may choose to read all that is paused.
  const parks = `t."lane" IS NOT NULL AND (SELECT p."paused_at" FROM ${paused} p
            WHERE p."queue" = t."queue" AND p."name" = t."name" AND p."lane" = t."lane") IS NOT NULL`;
  return `"due_at" = CASE WHEN ${parks} THEN ${due} END,
          "scheduled_at" = CASE WHEN ${parks} THEN 'infinity' ELSE ${due} END`;
}
