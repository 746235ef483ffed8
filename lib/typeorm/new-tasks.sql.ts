/**
 * The input of every statement that stores batches of tasks: a JSON array of groups [head, rows], a row being [id,
 * uniqueKey, payload], a head [queue, name, priority, maxRetries, timeoutMs, delayMs, scheduledAt, worker], and for those
 * that need them [… expiresInMs, uniqueScope, windowMs, replace, movesDue, rateKey, laneLimit]. Rows of tasks with a
 * concurrency key are [id, uniqueKey, payload, key].
 */

/** The columns that a head gives, beside the time at which its tasks are due. */
const headColumns = `h->>0 AS "queue", h->>1 AS "name", (h->>2)::smallint AS "priority", (h->>3)::integer AS "max_retries",
          (h->>4)::integer AS "timeout_ms"`;

/**
 * The clock by which times are stored: a caller's transaction, or that of an attempt, may have begun long before the
 * statement. It stands still within one, so that times of one statement agree.
 */
export const clock = 'statement_timestamp()';

export const later = (ms: string, from = clock) => `${from} + ${ms} * interval '1 millisecond'`;

export const dueAt = (inMs: string, at: string, from?: string) =>
  `CASE WHEN ${at} IS NULL THEN ${later(`${inMs}::float8`, from)} ELSE ${at}::timestamptz END`;

/** The groups of $1, one row each, with `rows` still in JSON. */
export const headOf = (more: string, from?: string) => `
        SELECT ${headColumns}, ${dueAt('(h->>5)', '(h->>6)', from)} AS "scheduled_at", g->1 AS "rows"${more}
        FROM (SELECT g, g->0 AS h FROM jsonb_array_elements($1::jsonb) g OFFSET 0) groups`;

/** When tasks of a head expire, or null, how they hold their key, and what bucket of a rate limit they take from. */
export const termsOfHead = (from?: string) => `${later('(h->>8)::float8', from)} AS "expires_at",
          h->>9 AS "unique_scope", h->>13 AS "rate_key", (h->>14)::integer AS "lane_limit"`;

/** What a row `e` says of its lane and its due time: with a concurrency key it is parked, see LaneStore. */
export const laneColumns = `"lane", "lane_limit", "due_at", "scheduled_at"`;
export const laneOfRow = `e->>3 AS "lane", CASE WHEN e->>3 IS NOT NULL THEN "lane_limit" END AS "lane_limit",
          CASE WHEN e->>3 IS NOT NULL THEN "scheduled_at" END AS "due_at",
          CASE WHEN e->>3 IS NULL THEN "scheduled_at" ELSE 'infinity' END AS "scheduled_at"`;

/** When a live task is due; while it is parked that stands apart. */
export const trueDue = `coalesce("due_at", "scheduled_at")`;

/**
 * Whether a task holds its unique key against others: the condition of task_unique, word for word, so that the planner
 * knows it again. Whoever holds it only while it waits gives it up at its first claim, and never takes it back; for a
 * window the key is held in unique_window, and by no task.
 */
export const holdsKey = (t: string) => `${t}"unique_key" IS NOT NULL
          AND (${t}"unique_scope" IS NULL OR ${t}"unique_scope" = 'waiting' AND ${t}"claim_seq" = 0)`;

/** Whether a task has not started and may not start any more. `clock` is that of the statement, not of its transaction. */
export const expired = (t: string) =>
  `${t}"worker_id" IS NULL AND ${t}"attempt" = 0 AND ${t}"expires_at" <= clock_timestamp()`;
