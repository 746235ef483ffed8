import { wake } from './hints.sql.js';
import { channelOf, quoteSchema } from './identifiers.js';

/** Pauses of queues, by their names. Limits of queues, and pauses of tasks: control.sql.ts. */
export function queueSql(schema: string) {
  const channel = `'${channelOf(schema)}'`;
  const queue = `${quoteSchema(schema)}."queue"`;

  return {
    /** $1 queue. */
    pause: `
      INSERT INTO ${queue} AS q ("name", "paused_at") VALUES ($1, now())
      ON CONFLICT ("name") DO UPDATE SET "paused_at" = coalesce(q."paused_at", now())`,

    /** $1 queue. */
    resume: `
      WITH resumed AS (
        UPDATE ${queue} SET "paused_at" = NULL WHERE "name" = $1 AND "paused_at" IS NOT NULL RETURNING "name" AS "queue"
      ), woken AS (
        ${wake(channel, 'resumed')}
      )
      SELECT told FROM woken`,

    pausedQueues: `SELECT "name" FROM ${queue} WHERE "paused_at" IS NOT NULL ORDER BY "name"`,
  };
}
