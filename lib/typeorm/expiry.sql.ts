import { keepEnded } from './finished-tasks.sql.js';
import { sameKey } from './fragments.sql.js';
import { hear } from './hints.sql.js';
import { channelOf, quoteSchema } from './identifiers.js';

/** What ends by the clock alone: tasks that have not started in time, and windows of unique keys. */
export function expirySql(schema: string) {
  const s = quoteSchema(schema);
  const task = `${s}."task"`;
  const window = `${s}."unique_window"`;
  /** The condition of task_expiry: what has started once does not expire any more. */
  const waits = `t."worker_id" IS NULL AND t."attempt" = 0 AND t."expires_at" IS NOT NULL`;

  return {
    /**
     * $1 for how many milliseconds cancelled tasks stay, as JSON by queue (0: not at all, 'Infinity': for ever), $2 limit,
     * $3 the same as $1 for all other queues. Skips what somebody else is just claiming, ending or replacing, and so waits
     * for nobody. By task_expiry and unique_window_over. At least one row, that of the next expiry.
     */
    expire: `
      WITH over AS MATERIALIZED (
        SELECT t."id", t."queue" FROM ${task} t WHERE ${waits} AND t."expires_at" <= now()
        ORDER BY t."expires_at" LIMIT $2 FOR UPDATE SKIP LOCKED
      ), ended AS (
        DELETE FROM ${task} t USING over
        WHERE ${sameKey('t', 'over')}
        RETURNING t.*, coalesce(($1::jsonb ->> t."queue")::float8, $3::float8) AS "keep_ms"
      ), kept AS (
        ${keepEnded(`${s}."finished_task"`, 'ended', { state: `'cancelled'`, reason: `'expired'` })}
      ), heard AS (
        ${hear(`'${channelOf(schema)}'`, 'ended')}
      ), closed AS MATERIALIZED (
        SELECT w."queue", w."name", w."unique_key" FROM ${window} w WHERE w."until" <= now()
        ORDER BY w."until" LIMIT $2 FOR UPDATE SKIP LOCKED
      ), forgotten AS (
        DELETE FROM ${window} w USING closed
        WHERE w."queue" = closed."queue" AND w."name" = closed."name" AND w."unique_key" = closed."unique_key"
        RETURNING 1
      )
      SELECT n.*, ended."id", ended."queue", ended."name", ended."lane", (SELECT told FROM heard) FROM (
        SELECT ceil(extract(epoch FROM (
            SELECT min(t."expires_at") FROM ${task} t WHERE ${waits} AND t."expires_at" > now()
          ) - now()) * 1000)::bigint AS "next_in_ms",
          (SELECT count(*) FROM forgotten) AS "forgotten"
      ) n LEFT JOIN ended ON true`,
  };
}
