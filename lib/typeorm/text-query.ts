import type { Connection, Submittable } from 'pg';

/** A row as text, column by column, in the order of the statement. */
export type TextRow = readonly (string | null)[];

export interface NamedStatement {
  /** The name under which the session keeps its plan; empty for one that is not kept. */
  readonly name: string;
  readonly text: string;
}

/** A statement and its values. */
export interface Step {
  readonly statement: NamedStatement;
  readonly values: readonly unknown[];
  /** Told the rows so far as soon as the server is done with this step, whatever the next ones take. */
  readonly done?: (rows: readonly TextRow[]) => void;
}

/**
 * One statement as the driver's queue takes it (its Submittable, as its cursors are), for the engine's own connections.
 *
 * The driver's own query describes each result anew and converts each column. Here rows stay text, in the order in which
 * the statement names them, so neither is needed: an idle connection answers a tenth of a millisecond sooner, and a row
 * of a large batch costs half. Nor do type parsers that an application registers reach the engine.
 *
 * It may also be several statements, sent at once: the rows are those of all. The session must know each of them then,
 * see `knows`, since the driver notes what a session has parsed for one statement a query. Those after one that fails are
 * not run.
 */
export class TextQuery implements Submittable {
  readonly name: string;
  readonly text: string;
  /** For the driver, which fails the query after so many milliseconds. */
  readonly query_timeout: number;
  /** For the driver, which wraps it. */
  callback: (error: Error | null, rows: readonly TextRow[]) => void;
  private readonly rows: TextRow[] = [];
  private completed = 0;

  constructor(
    private readonly steps: readonly [Step, ...Step[]],
    timeoutMs: number,
    callback: (error: Error | null, rows: readonly TextRow[]) => void,
  ) {
    const { name, text } = steps[0].statement;
    this.name = name;
    this.text = text;
    this.query_timeout = timeoutMs;
    this.callback = callback;
  }

  submit(connection: Connection): null {
    // One write for all messages.
    connection.stream.cork();
    try {
      for (const { statement, values, done } of this.steps) {
        const { name, text } = statement;
        if (!knows(connection, statement)) connection.parse({ name, text, types: [] }, true);
        connection.bind({ statement: name, values: values.map(asText) }, true);
        connection.execute({}, true);
        // The server would keep its answer until it has them all.
        if (done) connection.flush();
      }
      connection.sync();
    } finally {
      connection.stream.uncork();
    }
    return null;
  }

  handleDataRow({ fields }: { fields: TextRow }): void {
    this.rows.push(fields);
  }

  handleReadyForQuery(): void {
    this.callback(null, this.rows);
  }

  handleError(error: Error): void {
    this.callback(error, []);
  }

  handleCommandComplete(): void {
    this.steps[this.completed++]?.done?.(this.rows);
  }

  handleRowDescription(): void {}
  handleEmptyQuery(): void {}
  handlePortalSuspended(): void {}
  handleCopyInResponse(): void {}
  handleCopyData(): void {}
}

/** Whether a session has this statement prepared, as far as the driver has noted. */
export function knows(connection: Connection, { name }: NamedStatement): boolean {
  const { parsedStatements } = connection as unknown as { parsedStatements: Record<string, string | undefined> };
  return name !== '' && parsedStatements[name] !== undefined;
}

function asText(value: unknown): string | null {
  if (typeof value === 'string') return value;
  if (value === null || value === undefined) return null;
  return Array.isArray(value) ? textArray(value as readonly (string | null)[]) : String(value);
}

const quotable = /[\\"]/;

/** An array in PostgreSQL's own notation. */
export function textArray(items: readonly (string | null)[]): string {
  let text = '';
  for (const item of items) {
    if (text !== '') text += ',';
    if (item === null) text += 'NULL';
    else text += `"${quotable.test(item) ? item.replaceAll(/[\\"]/g, '\\$&') : item}"`;
  }
  return `{${text}}`;
}
