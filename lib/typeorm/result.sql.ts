import { stays } from './finished-tasks.sql.js';
import { sameKey } from './fragments.sql.js';
import { channelOf, quoteSchema } from './identifiers.js';

/** What those send who await the end of tasks. The rules of statements.ts hold here too. */
export function resultSql(schema: string) {
  const s = quoteSchema(schema);
  const task = `${s}."task"`;
  const channel = `'${channelOf(schema)}'`;

  return {
    /**
     * $1 ids. Marks live tasks as awaited, once, by primary key, in the order of their ids; whatever ends a marked one
     * tells so. One that ends while this waits for its row is neither marked nor seen among the finished: it is missing,
     * and the next look finds it. A claim may have stepped over a row while this held it, so its workers look again.
     */
    outcomes: `
      WITH asked AS MATERIALIZED (
        SELECT DISTINCT a."id" FROM unnest($1::uuid[]) a("id") ORDER BY a."id"
      ), fresh AS MATERIALIZED (
        SELECT t."id", t."queue" FROM asked JOIN ${task} t ON t."id" = ANY(ARRAY[asked."id"])
        WHERE NOT t."awaited"
        FOR UPDATE OF t
      ), marked AS (
        UPDATE ${task} t SET "awaited" = true FROM fresh
        WHERE ${sameKey('t', 'fresh')}
        RETURNING t."id", t."name", t."queue", t."worker_id", t."scheduled_at"
      ), passed AS (
        SELECT DISTINCT "queue" FROM marked WHERE "worker_id" IS NULL AND "scheduled_at" <= now()
      ), woken AS (
        SELECT count(pg_notify(${channel}, 'w0:' || "queue")) AS told FROM passed
      ), live AS (
        SELECT "id", "name", "queue", "worker_id" FROM marked
        UNION ALL
        SELECT t."id", t."name", t."queue", t."worker_id"
        FROM asked JOIN ${task} t ON t."id" = ANY(ARRAY[asked."id"]) WHERE t."awaited"
      )
      SELECT o.*, woken.told FROM (
        SELECT "id", "name", "queue", CASE WHEN "worker_id" IS NULL THEN 'ready' ELSE 'running' END AS "state",
          NULL::jsonb AS "result", NULL::jsonb AS "error",
          NULL::text AS "reason"
        FROM live
        UNION ALL
        SELECT f."id", f."name", coalesce(f."dead_from", f."queue"), f."state", f."result",
          CASE WHEN f."state" <> 'done' THEN f."attempts"->-1->'error' END, f."reason"
        FROM asked JOIN ${s}."finished_task" f ON f."id" = ANY(ARRAY[asked."id"]) AND ${stays}
      ) o CROSS JOIN woken`,
  };
}
