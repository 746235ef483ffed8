import { channelOf, quoteSchema } from './identifiers.js';

/**
 * The statements of limits and pauses, one a method of ControlStore. Queues and settings are few, and each statement
 * names those that it writes, in the order of their names. In what was set at run time 0 stands for no limit.
 */
export function controlSql(schema: string) {
  const s = quoteSchema(schema);
  const queue = `${s}."queue"`;
  const setting = `${s}."task_setting"`;
  const bucket = `${s}."rate_bucket"`;
  const told = `pg_notify('${channelOf(schema)}', 'l')::text`;

  return {
    /** What workers must know: kind, name, paused, limited or rated, concurrency. */
    controlRead: `
      SELECT 'queue', "name", "paused_at" IS NOT NULL, "limited", "concurrency" FROM ${queue}
      WHERE "paused_at" IS NOT NULL OR "limited" OR "concurrency" IS NOT NULL
      UNION ALL
      SELECT 'task', "name", "paused_at" IS NOT NULL, "rate_max" IS NOT NULL, NULL FROM ${setting}
      WHERE "paused_at" IS NOT NULL OR "rate_max" IS NOT NULL`,

    /**
     * $1: a JSON array of [queue, most at once, most in a window, window], $2: one of [task, its queue, most, window];
     * nulls for none.
     */
    controlDeclare: `SELECT ${s}."declare_limits"($1::jsonb, $2::jsonb)`,

    /**
     * $1 queue; then in pairs, whether it is to be set and to what: $2 $3 concurrency, $4 $5 most at once, $6 $7 most in
     * a window, with $8 the window.
     */
    controlSetLimits: `
      INSERT INTO ${queue} AS q ("name", "concurrency", "global_concurrency", "rate_max", "rate_per_ms")
      VALUES ($1, $3::integer, $5::integer, $7::integer, $8::bigint)
      ON CONFLICT ("name") DO UPDATE
      SET "concurrency" = CASE WHEN $2::boolean THEN EXCLUDED."concurrency" ELSE q."concurrency" END,
        "global_concurrency" = CASE WHEN $4::boolean THEN EXCLUDED."global_concurrency" ELSE q."global_concurrency" END,
        "rate_max" = CASE WHEN $6::boolean THEN EXCLUDED."rate_max" ELSE q."rate_max" END,
        "rate_per_ms" = CASE WHEN $6::boolean THEN EXCLUDED."rate_per_ms" ELSE q."rate_per_ms" END
      RETURNING ${told}`,

    /** $1 queue. */
    controlLimits: `
      SELECT "concurrency", "global_concurrency", "rate_max", "rate_per_ms", "declared_global_concurrency",
        "declared_rate_max", "declared_rate_per_ms"
      FROM ${queue} WHERE "name" = $1`,

    /** $1 queue: its tasks with a rate limit of their own. */
    controlRatedTasks: `
      SELECT "name", "rate_max", "rate_per_ms" FROM ${setting}
      WHERE "queue" = $1 AND "rate_max" IS NOT NULL ORDER BY "name"`,

    /** $1 name. As if it was declared to have none. */
    controlForgetTaskLimit: `
      SELECT ${s}."declare_limits"('[]', jsonb_build_array(jsonb_build_array("name", "queue", NULL, NULL)))
      FROM ${setting} WHERE "name" = $1 AND "rate_max" IS NOT NULL`,

    /** $1 name. */
    controlPauseTask: `
      INSERT INTO ${setting} AS s ("name", "paused_at") VALUES ($1, now())
      ON CONFLICT ("name") DO UPDATE SET "paused_at" = coalesce(s."paused_at", now())
      RETURNING ${told}`,

    /** $1 name. */
    controlResumeTask: `
      UPDATE ${setting} SET "paused_at" = NULL WHERE "name" = $1 AND "paused_at" IS NOT NULL RETURNING ${told}`,

    controlPausedTasks: `SELECT "name" FROM ${setting} WHERE "paused_at" IS NOT NULL ORDER BY "name"`,

    /**
     * $1 how many at most. Removes buckets that are full and have nobody waiting: they are as good as new. Skips those that
     * are in use. Answers how many it has removed, and whether there were any at all.
     */
    controlSweep: `
      WITH gone AS (
        DELETE FROM ${bucket} b USING (
          SELECT "kind", "name", "key" FROM ${bucket} WHERE greatest("full_at", "line_at") < now() - interval '1 minute'
          ORDER BY "kind", "name", "key" LIMIT $1 FOR UPDATE SKIP LOCKED
        ) i
        WHERE b."kind" = i."kind" AND b."name" = i."name" AND b."key" = i."key"
        RETURNING 1
      )
      SELECT (SELECT count(*) FROM gone), EXISTS (SELECT FROM ${bucket})`,
  };
}
