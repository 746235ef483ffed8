import { millis } from './fragments.sql.js';
import { quoteSchema } from './identifiers.js';

/** The statements of the work that is done once a day. None of them runs while a task does; tables of it are small. */
export function upkeepSql(schema: string) {
  const s = quoteSchema(schema);
  const upkeep = `${s}."upkeep"`;
  const byDefault = `${s}."finished_task_default"`;
  const today = `(now() AT TIME ZONE 'UTC')::date`;
  const ago = (ms: string) => `now() - ${ms}::float8 * interval '1 millisecond'`;
  const ours = `"day" = $1::text::date AND "job" = $2 AND "holder" = $3::uuid AND "finished_at" IS NULL`;

  return {
    /**
     * $1 the table of finished tasks. The time, whether our role may make and drop its partitions, and their names.
     */
    upkeepLook: `
      SELECT ${millis('now()')},
        pg_has_role(c.relowner, 'USAGE') AND has_schema_privilege(c.relnamespace, 'CREATE'),
        (SELECT string_agg(p.relname, ',') FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhrelid
         WHERE i.inhparent = c.oid)
      FROM pg_class c WHERE c.oid = $1::text::regclass`,

    /**
     * $1 job, $2 holder, $3 after how many milliseconds a holder that is not heard of is taken for dead. Takes today's
     * job, by its primary key: from nobody, from the dead, or again. Answers its day, or nothing when it is not to be had.
     */
    upkeepTake: `
      INSERT INTO ${upkeep} AS u ("day", "job", "holder")
      SELECT ${today}, $1::text, $2::uuid
      WHERE NOT EXISTS (
        SELECT FROM ${upkeep} d WHERE d."day" = ${today} AND d."job" = $1::text AND d."finished_at" IS NOT NULL)
      ON CONFLICT ("day", "job") DO UPDATE SET "holder" = EXCLUDED."holder", "taken_at" = now()
      WHERE u."finished_at" IS NULL AND (u."holder" = EXCLUDED."holder" OR u."taken_at" < ${ago('$3')})
      RETURNING to_char("day", 'YYYY-MM-DD')`,

    /** $1 day, $2 job, $3 holder: is still at it. Answers nothing when somebody else is. */
    upkeepGoOn: `UPDATE ${upkeep} SET "taken_at" = now() WHERE ${ours} RETURNING 1`,

    /** $1 day, $2 job, $3 holder. */
    upkeepFinish: `UPDATE ${upkeep} SET "finished_at" = now() WHERE ${ours} RETURNING 1`,

    /**
     * $1 name of a partition, $2 from, $3 to, as milliseconds since 1970: whether it is bounded by these times, as its
     * name says. Both texts are written by this session, in whatever style of dates it has.
     */
    upkeepBounded: `
      SELECT 1 FROM pg_class c
      WHERE c.oid = $1::text::regclass AND pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES FROM (%L) TO (%L)',
        timestamptz 'epoch' + $2::float8 * interval '1 millisecond',
        timestamptz 'epoch' + $3::float8 * interval '1 millisecond')`,

    /**
     * The rows that go by and by, one statement each: $1 how many at most. Each is repeated until it finds fewer, and
     * answers a row for each that it has deleted.
     */

    /** Of finished tasks for whose day no partition stood. By finished_task_default_kept_until; waits for nobody's row. */
    pruneFinished: `
      DELETE FROM ${byDefault} f
      USING (
        SELECT "id", "queue", "kept_until" FROM ${byDefault} WHERE "kept_until" <= now()
        ORDER BY "kept_until" LIMIT $1 FOR UPDATE SKIP LOCKED
      ) o
      WHERE f."id" = ANY(ARRAY[o."id"]) AND f."queue" = o."queue" AND f."kept_until" = o."kept_until"
      RETURNING 1`,

    pruneUpkeep: `
      DELETE FROM ${upkeep} u
      WHERE u."day" IN (SELECT o."day" FROM ${upkeep} o WHERE o."day" < ${today} - 30 ORDER BY o."day" LIMIT $1)
      RETURNING 1`,
  };
}

/** What expires row by row: a statement of `upkeepSql` each, which deletes $1 rows at most. */
export const prunedRows = ['pruneFinished', 'pruneUpkeep'] as const satisfies readonly (keyof ReturnType<
  typeof upkeepSql
>)[];
