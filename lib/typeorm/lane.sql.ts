import { millis } from './fragments.sql.js';
import { quoteSchema } from './identifiers.js';
import { givesWay, headOfLane } from './lane-order.js';

/** The statements of concurrency keys, one a method of LaneStore; admission itself is a function of the schema. */
export function laneSql(schema: string) {
  const s = quoteSchema(schema);
  const task = `${s}."task"`;
  const paused = `${s}."paused_lane"`;
  const sameLane = (t: string, l: string) =>
    `${t}."queue" = ${l}."queue" AND ${t}."name" = ${l}."name" AND ${t}."lane" = ${l}."lane"`;

  return {
    /**
     * $1 queues, $2 names, $3 keys. The locks are those of admit_lanes. The answer: on each queue where something was
     * admitted, in how many milliseconds the first of it is due, and whether to ask again.
     */
    laneAdmit: `
      SELECT "admitted_on", min("due_in_ms")::float8, bool_or("more")
      FROM ${s}."admit_lanes"($1::text[], $2::text[], $3::text[]) GROUP BY 1`,

    /**
     * $1 queue, $2 name and $3 key after which it goes on, $4 limit. First, with their places, the next lanes in which tasks
     * wait, and whether the first of them could have its place, a free one or that of another that gives way to it: by
     * task_parked, from one lane to the next; by task_admitted, at most as many as the limit. Then, without one, paused lanes
     * of which tasks have a place but do not run. It locks nothing: admission decides.
     */
    laneSweep: `
      WITH RECURSIVE lane AS (
        (SELECT t."queue", t."name", t."lane", 1 AS "place" FROM ${task} t
         WHERE t."due_at" IS NOT NULL AND (t."queue", t."name", t."lane") > ($1::text, $2::text, $3::text)
         ORDER BY t."queue", t."name", t."lane" LIMIT 1)
        UNION ALL
        SELECT n.*, lane."place" + 1 FROM lane CROSS JOIN LATERAL (
          SELECT t."queue", t."name", t."lane" FROM ${task} t
          WHERE t."due_at" IS NOT NULL AND (t."queue", t."name", t."lane") > (lane."queue", lane."name", lane."lane")
          ORDER BY t."queue", t."name", t."lane" LIMIT 1
        ) n
        WHERE lane."place" < $4::int
      )
      SELECT l."queue", l."name", l."lane", NOT EXISTS (SELECT FROM ${paused} p WHERE ${sameLane('p', 'l')})
        AND EXISTS (
          SELECT FROM (${headOfLane(task, sameLane('t', 'l'), 'now()')}
          ) head
          WHERE (SELECT count(*) FROM (
              SELECT FROM ${task} t WHERE ${sameLane('t', 'l')} AND t."due_at" IS NULL LIMIT head."lane_limit"
            ) held) < head."lane_limit"
            OR EXISTS (SELECT FROM ${task} m WHERE ${sameLane('m', 'l')} AND ${givesWay('m', 'head', 'now()')})
        ) AS "admit", l."place"
      FROM lane l
      UNION ALL
      (SELECT p."queue", p."name", p."lane", true, NULL FROM ${paused} p WHERE EXISTS (
         SELECT FROM ${task} t WHERE ${sameLane('t', 'p')} AND t."due_at" IS NULL AND t."worker_id" IS NULL
       ) LIMIT $4)
      ORDER BY "place"`,

    /** $1 queue, $2 name, $3 key. */
    lanePause: `INSERT INTO ${paused} ("queue", "name", "lane") VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,

    /** $1 queue, $2 name, $3 key. */
    laneResume: `DELETE FROM ${paused} WHERE "queue" = $1 AND "name" = $2 AND "lane" = $3`,

    lanePaused: `
      SELECT "queue", "name", "lane", ${millis('"paused_at"')} FROM ${paused}
      ORDER BY "queue", "name", "lane"`,
  };
}
