import { channelOf, quoteSchema } from '../identifiers.js';

/**
 * Takes down what a process declares of its queues and tasks, as a function: so that no process that is stopped in the
 * middle of it keeps the lock of a queue. It writes nothing when all stands there already. Declarations follow each other,
 * since which queues are marked as limited for the sake of a task depends on all of them.
 */
export function createDeclareLimits(schema: string): string {
  const s = quoteSchema(schema);
  const queue = `${s}."queue"`;
  const setting = `${s}."task_setting"`;
  const input = (parameter: string) => `jsonb_array_elements(${parameter}) e`;
  const differs = `
        SELECT FROM ${input('p_queues')} LEFT JOIN ${queue} q ON q."name" = e->>0
        WHERE (q."declared_global_concurrency", q."declared_rate_max", q."declared_rate_per_ms")
          IS DISTINCT FROM ((e->>1)::integer, (e->>2)::integer, (e->>3)::bigint)
        UNION ALL
        SELECT FROM ${input('p_tasks')} LEFT JOIN ${setting} s ON s."name" = e->>0
        WHERE (s."rate_max", s."rate_per_ms") IS DISTINCT FROM ((e->>2)::integer, (e->>3)::bigint)
          OR (s."rate_max" IS NOT NULL AND s."queue" IS DISTINCT FROM e->>1)`;

  const body = `
    BEGIN
      IF NOT EXISTS (${differs}) THEN RETURN; END IF;
      LOCK TABLE ${setting} IN SHARE ROW EXCLUSIVE MODE;

      INSERT INTO ${setting} ("name", "queue", "rate_max", "rate_per_ms")
      SELECT e->>0, e->>1, (e->>2)::integer, (e->>3)::bigint FROM ${input('p_tasks')} LEFT JOIN ${setting} s ON s."name" = e->>0
      WHERE s."name" IS NOT NULL OR e->>2 IS NOT NULL
      ORDER BY e->>0
      ON CONFLICT ("name") DO UPDATE
      SET ("queue", "rate_max", "rate_per_ms") = (EXCLUDED."queue", EXCLUDED."rate_max", EXCLUDED."rate_per_ms");

      INSERT INTO ${queue} AS q ("name", "declared_global_concurrency", "declared_rate_max", "declared_rate_per_ms",
        "rated_tasks")
      SELECT n."name", (d.e->>1)::integer, (d.e->>2)::integer, (d.e->>3)::bigint,
        EXISTS (SELECT FROM ${setting} s WHERE s."queue" = n."name" AND s."rate_max" IS NOT NULL)
      FROM (
        SELECT e->>0 FROM ${input('p_queues')} UNION SELECT s."queue" FROM ${setting} s WHERE s."rate_max" IS NOT NULL
        UNION SELECT q."name" FROM ${queue} q WHERE q."rated_tasks"
      ) n("name") LEFT JOIN (SELECT e FROM ${input('p_queues')}) d ON d.e->>0 = n."name"
      ORDER BY n."name"
      ON CONFLICT ("name") DO UPDATE
      SET "rated_tasks" = EXCLUDED."rated_tasks",
        ("declared_global_concurrency", "declared_rate_max", "declared_rate_per_ms") = (
          SELECT EXCLUDED."declared_global_concurrency", EXCLUDED."declared_rate_max", EXCLUDED."declared_rate_per_ms"
          WHERE EXISTS (SELECT FROM ${input('p_queues')} WHERE e->>0 = q."name")
          UNION ALL
          SELECT q."declared_global_concurrency", q."declared_rate_max", q."declared_rate_per_ms"
          WHERE NOT EXISTS (SELECT FROM ${input('p_queues')} WHERE e->>0 = q."name"));

      PERFORM pg_notify('${channelOf(schema)}', 'l');
    END`;
  return `
    CREATE FUNCTION ${s}."declare_limits"(p_queues jsonb, p_tasks jsonb) RETURNS void LANGUAGE plpgsql VOLATILE
    AS '${body.replaceAll("'", "''")}'`;
}

export function dropDeclareLimits(schema: string): string {
  return `DROP FUNCTION ${quoteSchema(schema)}."declare_limits"(jsonb, jsonb)`;
}
