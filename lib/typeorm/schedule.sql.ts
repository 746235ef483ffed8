import { millis } from './fragments.sql.js';
import { channelOf, quoteSchema } from './identifiers.js';

/**
 * The statements of schedules, one a method of ScheduleStore. Schedules are few, and each statement names one or reads
 * them by schedule_next; times are milliseconds since 1970. The row of a declared one that has ended stays, unseen: what
 * was said of it from outside, above all its pause, is there again when it is declared again.
 */
export function scheduleSql(schema: string) {
  const schedule = `${quoteSchema(schema)}."schedule"`;
  const told = `pg_notify('${channelOf(schema)}', 's')::text`;
  const time = (value: string) => `timestamptz 'epoch' + ${value}::float8 * interval '1 millisecond'`;
  const shown = `s."name", s."task", s."queue", s."cron", s."time_zone", s."catch_up", s."payload", s."priority",
      s."max_retries", s."timeout_ms", s."declared", s."revision", s."paused_at" IS NOT NULL,
      ${millis('s."next_at"')}, ${millis('s."last_at"')}`;
  const defined = `"task", "queue", "cron", "time_zone", "catch_up", "payload", "priority", "max_retries", "timeout_ms"`;
  const ours = `s."paused_at" IS NULL AND s."ended_at" IS NULL AND CASE WHEN s."declared" THEN s."name" = ANY($1::text[]) ELSE s."task" = ANY($2::text[]) END`;

  return {
    scheduleNow: `SELECT ${millis('now()')}`,

    /**
     * $1 name, $2 task, $3 queue, $4 cron, $5 time zone, $6 catch-up, $7 payload, $8 priority, $9 max retries, $10 timeout,
     * $11 declared, $12 next tick. Changes nothing, and answers nothing, when it stands there so or is of the other kind.
     * One that ended a moment ago, while others still declare it, goes on where it stood and so misses no tick.
     */
    schedulePut: `
      INSERT INTO ${schedule} AS s ("name", ${defined}, "declared", "next_at")
      VALUES ($1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::jsonb, $8::smallint, $9::integer,
        $10::integer, $11::boolean, ${time('$12')})
      ON CONFLICT ("name") DO UPDATE
      SET (${defined}) = ROW(EXCLUDED."task", EXCLUDED."queue", EXCLUDED."cron", EXCLUDED."time_zone",
          EXCLUDED."catch_up", EXCLUDED."payload", EXCLUDED."priority", EXCLUDED."max_retries", EXCLUDED."timeout_ms"),
        "declared" = EXCLUDED."declared", "ended_at" = NULL, "revision" = s."revision" + 1,
        "paused_at" = CASE WHEN s."declared" = EXCLUDED."declared" THEN s."paused_at" END,
        "last_at" = CASE WHEN s."declared" = EXCLUDED."declared" THEN s."last_at" END,
        "next_at" = CASE WHEN (s."cron", s."time_zone", s."declared")
                            = (EXCLUDED."cron", EXCLUDED."time_zone", EXCLUDED."declared")
                          AND (s."ended_at" IS NULL OR s."ended_at" > now() - interval '1 minute') THEN s."next_at"
                    ELSE EXCLUDED."next_at" END
      WHERE s."ended_at" IS NOT NULL OR s."declared" = EXCLUDED."declared"
        AND (s."task", s."queue", s."cron", s."time_zone", s."catch_up", s."payload", s."priority", s."max_retries",
          s."timeout_ms") IS DISTINCT FROM (EXCLUDED."task", EXCLUDED."queue", EXCLUDED."cron", EXCLUDED."time_zone",
          EXCLUDED."catch_up", EXCLUDED."payload", EXCLUDED."priority", EXCLUDED."max_retries", EXCLUDED."timeout_ms")
      RETURNING ${told}`,

    /** $1 name. Whether it was one, and not what is left of one. */
    scheduleRemove: `DELETE FROM ${schedule} WHERE "name" = $1 RETURNING "ended_at" IS NULL`,

    /**
     * $1 names. Their rows are locked in one order, so that two who start at once do not wait for each other; whoever
     * still declares one is told, and puts it back.
     */
    scheduleRemoveDeclared: `
      UPDATE ${schedule} SET "ended_at" = now()
      WHERE "name" IN (
        SELECT s."name" FROM ${schedule} s
        WHERE s."name" = ANY($1::text[]) AND s."declared" AND s."ended_at" IS NULL
        ORDER BY s."name" FOR UPDATE
      ) RETURNING ${told}`,

    scheduleList: `SELECT ${shown} FROM ${schedule} s WHERE s."ended_at" IS NULL ORDER BY s."name"`,

    /** $1 name. */
    scheduleFind: `SELECT ${shown} FROM ${schedule} s WHERE s."name" = $1 AND s."ended_at" IS NULL`,

    /** $1 name. */
    schedulePause: `
      UPDATE ${schedule} SET "paused_at" = coalesce("paused_at", now())
      WHERE "name" = $1 AND "ended_at" IS NULL RETURNING 1`,

    /** $1 name, $2 next tick, which counts if it is paused. */
    scheduleResume: `
      UPDATE ${schedule}
      SET "next_at" = CASE WHEN "paused_at" IS NULL THEN "next_at" ELSE ${time('$2')} END, "paused_at" = NULL
      WHERE "name" = $1 AND "ended_at" IS NULL RETURNING ${told}`,

    /**
     * $1 the declared ones that count, $2 the tasks that do, $3 limit. At least one row: that of the clock, and of the
     * declared ones that are not there.
     */
    scheduleDue: `
      SELECT ${millis('now()')},
        (SELECT ${millis('min(s."next_at")')} FROM ${schedule} s WHERE ${ours} AND s."next_at" > now()),
        (SELECT json_agg(d."name") FROM unnest($1::text[]) d("name")
         WHERE NOT EXISTS (SELECT FROM ${schedule} s WHERE s."name" = d."name" AND s."ended_at" IS NULL)), due.*
      FROM (VALUES (1)) one LEFT JOIN LATERAL (
        SELECT ${shown} FROM ${schedule} s WHERE ${ours} AND s."next_at" <= now() ORDER BY s."next_at", s."name" LIMIT $3
      ) due ON true`,

    /** $1 name, $2 revision, $3 the tick that is due, $4 next tick, $5 latest tick. */
    scheduleTick: `
      UPDATE ${schedule} SET "next_at" = ${time('$4')}, "last_at" = ${time('$5')}
      WHERE "name" = $1 AND "revision" = $2::integer AND "next_at" = ${time('$3')} AND "paused_at" IS NULL
        AND "ended_at" IS NULL
      RETURNING 1`,
  };
}
