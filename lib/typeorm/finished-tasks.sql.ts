import { clock, later, trueDue } from './new-tasks.sql.js';

/** The columns that a finished task keeps as they were; what else it has is given apart, by `keepEnded`. */
const kept = `"id", "name", "priority", "claim_seq", "attempt", "retries", "max_retries", "timeout_ms", "created_at",
          "started_at", "expires_at", "unique_key", "unique_scope", "rate_key", "lane", "lane_limit", "worker_id", "payload"`;

/** Until when a finished task stays: of milliseconds, Infinity being for ever. */
const keptUntil = (ms: string) => `CASE WHEN ${ms} = 'Infinity' THEN 'infinity' ELSE ${later(ms)} END`;

/** Whether a finished task's time is not over yet: those whose time is over are as good as gone. */
export const stays = '"kept_until" > now()';

/** What is said of an ended task that it did not say itself, as columns of `rows` or as values. */
export interface Ending {
  readonly state: string;
  readonly attempts?: string;
  readonly crashes?: string;
  readonly reason?: string;
  readonly result?: string;
  /** Whether `rows` have a column "dead_letter": the queue under which each stays, or null for its own. */
  readonly dead?: boolean;
}

/** Keeps those of the ended tasks in `rows` that stay, by their column "keep_ms": 0 is not at all. */
export function keepEnded(
  finishedTable: string,
  rows: string,
  {
    state,
    attempts = '"attempts"',
    crashes = '"crashes"',
    reason = 'NULL',
    result = 'NULL::jsonb',
    dead = false,
  }: Ending,
): string {
  const [queue, deadFrom] = dead
    ? ['coalesce("dead_letter", "queue")', 'CASE WHEN "dead_letter" IS NOT NULL THEN "queue" END']
    : ['"queue"', 'NULL::text'];
  return `
        INSERT INTO ${finishedTable} (${kept}, "scheduled_at",
          "queue", "dead_from", "crashes", "state", "attempts", "reason", "result", "finished_at",
          "kept_until")
        SELECT ${kept}, ${trueDue},
          ${queue}, ${deadFrom}, ${crashes}, ${state}, ${attempts}, ${reason}, ${result}, ${clock},
          ${keptUntil('"keep_ms"')}
        FROM ${rows} WHERE "keep_ms" > 0`;
}

/** The columns that a finished task brings back when it is to be run again, due now and with all its retries. */
const brought = `"id", "name", "priority", "claim_seq", "attempt", "max_retries", "timeout_ms", "created_at", "started_at",
          "unique_key", "rate_key", "lane", "lane_limit", "payload", "attempts"`;

/**
 * Puts finished tasks in `rows` back, dead letters to the queue that they came from, those with a lane parked. They expire
 * no more.
 *
 * @param rest What follows: an order, or what to do about a unique key that is taken.
 */
export function putBack(taskTable: string, rows: string, rest = ''): string {
  return `
        INSERT INTO ${taskTable} (${brought}, "queue", "unique_scope", "scheduled_at", "due_at")
        SELECT ${brought}, coalesce("dead_from", "queue"),
          CASE "unique_scope" WHEN 'liveExpired' THEN NULL WHEN 'waitingExpired' THEN 'waiting' ELSE "unique_scope" END,
          CASE WHEN "lane" IS NULL THEN now() ELSE 'infinity' END, CASE WHEN "lane" IS NOT NULL THEN now() END
        FROM ${rows} ${rest}`;
}
