import type { Run } from './database.js';
import { quoteSchema } from './identifiers.js';

/** A task that has passed leaves two dead rows behind, its own and its claim's, and entries in the indexes. */
const leastEnded = 20_000;
/** A large table is worth reading only when this part of it has passed. */
const partOfTable = 0.2;
const mostBackoff = 64;

/**
 * Vacuums the table of live tasks by demand: when so many tasks have ended here that it pays.
 *
 * PostgreSQL's own autovacuum looks once a minute. A queue can pass a million tasks in that time, and the table and its
 * indexes would keep the size of a million for ever. While dead rows cannot be removed (another session holds an old
 * snapshot, or our role does not own the table) it comes more and more rarely.
 */
export class HotTableVacuum {
  private ended = 0;
  private worthwhile = leastEnded;
  private threshold = leastEnded;
  private backoff = 1;
  private underWay = false;
  private readonly table: string;

  constructor(
    private readonly run: Run,
    schema: string,
  ) {
    this.table = `${quoteSchema(schema)}."task"`;
  }

  /** So many tasks have left the table. */
  count(tasks: number): void {
    this.ended += tasks;
    if (this.ended < this.threshold || this.underWay) return;
    this.ended = 0;
    this.underWay = true;
    void this.vacuum()
      // Whatever it fails of, autovacuum comes too.
      .catch(() => this.comeMoreRarely())
      .finally(() => {
        this.underWay = false;
      });
  }

  private async vacuum(): Promise<void> {
    const before = this.threshold * 2;
    await this.run({ name: '', text: `VACUUM (SKIP_LOCKED, TRUNCATE FALSE, PARALLEL 0) ${this.table}` }, []);
    const [row] = await this.run(
      {
        name: '',
        text: `SELECT pg_stat_get_dead_tuples(oid), reltuples FROM pg_class WHERE oid = $1::text::regclass`,
      },
      [this.table],
    );
    const helped = Number(row?.[0]) < before / 2;
    this.worthwhile = Math.max(leastEnded, Number(row?.[1]) * partOfTable);
    if (!helped) return this.comeMoreRarely();
    this.backoff = 1;
    this.threshold = this.worthwhile;
  }

  private comeMoreRarely(): void {
    this.backoff = Math.min(this.backoff * 2, mostBackoff);
    this.threshold = this.worthwhile * this.backoff;
  }
}
