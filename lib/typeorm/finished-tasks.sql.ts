import { later, trueDue } from './new-tasks.sql.js';

/** The columns that a finished task keeps as they were; what else it has is given apart, by `keepEnded`. */
const kept = `"id", "queue", "name", "priority", "claim_seq", "attempt", "retries",
      "max_retries", "timeout_ms", "created_at", "started_at", "expires_at", "unique_key", "unique_scope", "rate_key",
      "lane", "lane_limit", "payload"`;

/** Until when a finished task stays: of milliseconds, Infinity being for ever. */
const keptUntil = (ms: string) => `CASE WHEN ${ms} = 'Infinity' THEN 'infinity' ELSE ${later(ms)} END`;

/** What is said of an ended task that it did not say itself, as columns of `rows` or as values. */
interface Ending {
  readonly state: string;
  readonly attempts?: string;
  readonly crashes?: string;
  readonly reason?: string;
}

/** Keeps those of the ended tasks in `rows` that stay, by their column "keep_ms": 0 is not at all. */
export function keepEnded(
  finishedTable: string,
  rows: string,
  { state, attempts = '"attempts"', crashes = '"crashes"', reason = 'NULL' }: Ending,
): string {
  return `
        INSERT INTO ${finishedTable} (${kept}, "scheduled_at", "crashes", "state", "attempts", "reason", "kept_until")
        SELECT ${kept}, ${trueDue}, ${crashes}, ${state}, ${attempts}, ${reason}, ${keptUntil('"keep_ms"')}
        FROM ${rows} WHERE "keep_ms" > 0`;
}
