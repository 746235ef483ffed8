import type { Connection, Submittable } from 'pg';

/** A row as text, column by column, in the order of the statement. */
export type TextRow = readonly (string | null)[];

interface NamedStatement {
  /** The name under which the session keeps its plan; empty for one that is not kept. */
  readonly name: string;
  readonly text: string;
}

/**
 * One statement as the driver's queue takes it (its Submittable, as its cursors are), for the engine's own connections.
 *
 * The driver's own query describes each result anew and converts each column. Here rows stay text, in the order in which
 * the statement names them, so neither is needed: an idle connection answers a tenth of a millisecond sooner, and a row
 * of a large batch costs half. Nor do type parsers that an application registers reach the engine.
 */
export class TextQuery implements Submittable {
  readonly name: string;
  readonly text: string;
  /** For the driver, which fails the query after so many milliseconds. */
  readonly query_timeout: number;
  /** For the driver, which wraps it. */
  callback: (error: Error | null, rows: readonly TextRow[]) => void;
  private readonly rows: TextRow[] = [];

  constructor(
    { name, text }: NamedStatement,
    private readonly values: readonly unknown[],
    timeoutMs: number,
    callback: (error: Error | null, rows: readonly TextRow[]) => void,
  ) {
    this.name = name;
    this.text = text;
    this.query_timeout = timeoutMs;
    this.callback = callback;
  }

  submit(connection: Connection): null {
    const { parsedStatements } = connection as unknown as { parsedStatements: Record<string, string | undefined> };
    // One write for all messages.
    connection.stream.cork();
    try {
      if (this.name === '' || parsedStatements[this.name] === undefined) {
        connection.parse({ name: this.name, text: this.text, types: [] }, true);
      }
      connection.bind({ statement: this.name, values: this.values.map(asText) }, true);
      connection.execute({}, true);
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

  handleRowDescription(): void {}
  handleCommandComplete(): void {}
  handleEmptyQuery(): void {}
  handlePortalSuspended(): void {}
  handleCopyInResponse(): void {}
  handleCopyData(): void {}
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
