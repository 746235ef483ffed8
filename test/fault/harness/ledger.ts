import { Client, Pool } from 'pg';
import type { CurrentTask } from 'nestjs-backie';

const table = `
  CREATE TABLE IF NOT EXISTS execution (
    id bigserial PRIMARY KEY, task_id uuid NOT NULL, token bigint NOT NULL, attempt integer NOT NULL,
    process text NOT NULL, started timestamptz NOT NULL DEFAULT clock_timestamp(), ended timestamptz
  )`;

/** One execution of a handler, as it was written down before and after. */
export interface LedgerRow {
  readonly task_id: string;
  readonly token: string;
  readonly process: string;
  readonly started: Date;
  readonly ended: Date | null;
}

/** What really ran, in a database that no fault touches. Handlers write it before and after their work. */
export class LedgerWriter {
  private readonly pool: Pool;

  constructor(
    url: string,
    private readonly process: string,
  ) {
    this.pool = new Pool({ connectionString: url, max: 4 });
  }

  async record(task: CurrentTask, work: () => Promise<void>): Promise<void> {
    const { rows } = await this.pool.query<{ id: string }>({
      name: 'start',
      text: 'INSERT INTO execution (task_id, token, attempt, process) VALUES ($1, $2, $3, $4) RETURNING id',
      values: [task.id, task.fencingToken, task.attempt, this.process],
    });
    await work();
    await this.pool.query({
      name: 'end',
      text: 'UPDATE execution SET ended = clock_timestamp() WHERE id = $1',
      values: [rows[0].id],
    });
  }

  async close(): Promise<void> {
    await this.pool.end();
  }
}

/** The harness's side of the ledger. */
export class LedgerReader {
  static async open(url: string): Promise<LedgerReader> {
    const client = new Client({ connectionString: url });
    client.on('error', () => {});
    await client.connect();
    await client.query(table);
    return new LedgerReader(url, client);
  }

  private constructor(
    readonly url: string,
    private readonly client: Client,
  ) {}

  async clear(): Promise<void> {
    await this.client.query('TRUNCATE execution');
  }

  async rows(): Promise<LedgerRow[]> {
    return (await this.client.query<LedgerRow>('SELECT * FROM execution ORDER BY id')).rows;
  }

  async count(where = 'true'): Promise<number> {
    const { rows } = await this.client.query<{ count: string }>(`SELECT count(*) FROM execution WHERE ${where}`);
    return Number(rows[0].count);
  }

  async close(): Promise<void> {
    await this.client.end();
  }
}
