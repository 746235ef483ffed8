import { EventEmitter } from 'node:events';
import fc from 'fast-check';
import { Client, type ClientConfig, type Connection, types } from 'pg';
import { describe, expect, it } from 'vitest';
import { knows, type Step, textArray, TextQuery, type TextRow } from '../../lib/typeorm/text-query.js';

const textArrayOid = 1009 as Parameters<typeof types.getTypeParser>[0];
const parse = types.getTypeParser(textArrayOid, 'text') as (text: string) => (string | null)[];

describe('an array as text', () => {
  it.each<[title: string, items: string[], text: string]>([
    ['nothing', [], '{}'],
    ['plain items', ['a', 'b c'], '{"a","b c"}'],
    ['an empty string', [''], '{""}'],
    ['empty strings at the ends', ['', 'a', ''], '{"","a",""}'],
    ['what looks like NULL', ['NULL', 'null'], '{"NULL","null"}'],
    ['commas and braces', ['a,b', '{}', '}'], '{"a,b","{}","}"}'],
    ['quotes', ['say "hi"', '"'], String.raw`{"say \"hi\"","\""}`],
    ['backslashes', ['C:\\new', '\\'], String.raw`{"C:\\new","\\"}`],
    ['both', ['\\"'], String.raw`{"\\\""}`],
    ['spaces and line ends', [' a ', '\n'], '{" a ","\n"}'],
  ])('keeps %s', (_title, items, text) => {
    expect(textArray(items)).toBe(text);
    expect(parse(text)).toEqual(items);
  });

  it('is read as what it was made of, whatever that is', () => {
    const item = fc.oneof(fc.string({ unit: 'binary' }), fc.stringMatching(/^[\\",{} NUL]*$/));
    fc.assert(
      fc.property(fc.array(item), (items) => {
        expect(parse(textArray(items))).toEqual(items);
      }),
    );
  });
});

/** The driver's connection, as far as its client sees it; the test plays the server. */
class FakeConnection extends EventEmitter {
  readonly parsedStatements: Record<string, string> = {};
  readonly submittedNamedStatements: Record<string, string> = {};
  readonly messages: [kind: string, message?: Record<string, unknown>][] = [];
  corked = 0;
  writesWhileOpen = 0;
  readonly stream = { cork: () => void this.corked++, uncork: () => void this.corked--, destroy: () => {} };

  connect(): void {}

  parse(message: Record<string, unknown>): void {
    this.write('parse', message);
  }

  bind(message: Record<string, unknown>): void {
    this.write('bind', message);
  }

  execute(): void {
    this.write('execute');
  }

  flush(): void {
    this.write('flush');
  }

  sync(): void {
    this.write('sync');
  }

  end(): void {}

  private write(kind: string, message?: Record<string, unknown>): void {
    if (this.corked === 0) this.writesWhileOpen++;
    this.messages.push(message ? [kind, message] : [kind]);
  }
}

describe('a query whose rows stay text', () => {
  async function session() {
    const connection = new FakeConnection();
    const client = new Client({ connection } as ClientConfig);
    const connected = client.connect();
    connection.emit('readyForQuery', { status: 'I' });
    await connected;
    const outcomes: { error: Error | null; rows: readonly TextRow[] }[] = [];
    const sendAll = (steps: readonly [Step, ...Step[]]) => {
      connection.messages.length = 0;
      client.query(new TextQuery(steps, 60_000, (error, rows) => outcomes.push({ error, rows })));
      return connection.messages;
    };
    const send = (name: string, text = 'SELECT 1', values: readonly unknown[] = []) =>
      sendAll([{ statement: { name, text }, values }]);
    const answer = (rows: TextRow[] = []) => {
      if (connection.messages.some(([kind]) => kind === 'parse')) connection.emit('parseComplete', {});
      for (const fields of rows) connection.emit('dataRow', { fields });
      connection.emit('commandComplete', { text: `SELECT ${rows.length}` });
      connection.emit('readyForQuery', { status: 'I' });
    };
    const refuse = (error: Error) => {
      connection.emit('errorMessage', error);
      connection.emit('readyForQuery', { status: 'I' });
    };
    return { client, connection, outcomes, send, sendAll, answer, refuse };
  }

  it('binds text, numbers, booleans, nulls and arrays as PostgreSQL writes them', async () => {
    const { send } = await session();
    const values = ['it', '', 0, -1.5, 2 ** 40, true, false, null, undefined, ['a', 'b"c'], []];
    const [, bound] = send('q', 'SELECT 1', values);
    const texts = ['it', '', '0', '-1.5', '1099511627776', 'true', 'false', null, null, String.raw`{"a","b\"c"}`, '{}'];
    expect(bound).toEqual(['bind', { statement: 'q', values: texts }]);
  });

  it('asks for no description, and sends all in one write', async () => {
    const { send, connection } = await session();
    expect(send('q').map(([kind]) => kind)).toEqual(['parse', 'bind', 'execute', 'sync']);
    expect(connection.writesWhileOpen).toBe(0);
    expect(connection.corked).toBe(0);
  });

  it('parses a named statement once a session', async () => {
    const one = await session();
    expect(one.send('q', 'SELECT 2')[0]).toEqual(['parse', { name: 'q', text: 'SELECT 2', types: [] }]);
    one.answer();
    expect(one.send('q', 'SELECT 2').map(([kind]) => kind)).toEqual(['bind', 'execute', 'sync']);
    one.answer();
    expect(one.send('other')[0]?.[0]).toBe('parse');
    expect((await session()).send('q', 'SELECT 2')[0]?.[0]).toBe('parse');
  });

  it('parses again what could not be parsed', async () => {
    const { send, refuse } = await session();
    send('q');
    refuse(new Error('relation "task" does not exist'));
    expect(send('q')[0]?.[0]).toBe('parse');
  });

  it('parses a statement without a name each time', async () => {
    const { send, answer, connection } = await session();
    connection.parsedStatements[''] = 'COMMIT';
    for (let i = 0; i < 2; i++) {
      expect(send('', 'BEGIN')[0]).toEqual(['parse', { name: '', text: 'BEGIN', types: [] }]);
      answer();
    }
  });

  it('sends several statements that the session knows in one write, and hands over the rows of all', async () => {
    const { sendAll, answer, connection, outcomes } = await session();
    Object.assign(connection.parsedStatements, { begin: 'BEGIN', one: 'SELECT $1' });
    const steps: [Step, Step] = [
      { statement: { name: 'begin', text: 'BEGIN' }, values: [] },
      { statement: { name: 'one', text: 'SELECT $1' }, values: [7] },
    ];
    expect(steps.map(({ statement }) => knows(connection as unknown as Connection, statement))).toEqual([true, true]);
    expect(sendAll(steps)).toEqual([
      ['bind', { statement: 'begin', values: [] }],
      ['execute'],
      ['bind', { statement: 'one', values: ['7'] }],
      ['execute'],
      ['sync'],
    ]);
    expect(connection.writesWhileOpen).toBe(0);
    connection.emit('commandComplete', { text: 'BEGIN' });
    answer([['7']]);
    expect(outcomes).toEqual([{ error: null, rows: [['7']] }]);
  });

  it('has the server answer in between, and tells the rows so far', async () => {
    const { sendAll, connection, outcomes } = await session();
    Object.assign(connection.parsedStatements, { one: 'SELECT 1', two: 'SELECT 2' });
    const told: TextRow[][] = [];
    const done = (rows: readonly TextRow[]) => void told.push([...rows]);
    const messages = sendAll([
      { statement: { name: 'one', text: 'SELECT 1' }, values: [], done },
      { statement: { name: 'two', text: 'SELECT 2' }, values: [] },
    ]);
    expect(messages.map(([kind]) => kind)).toEqual(['bind', 'execute', 'flush', 'bind', 'execute', 'sync']);
    connection.emit('dataRow', { fields: ['1'] });
    expect(told).toEqual([]);
    connection.emit('commandComplete', { text: 'SELECT 1' });
    expect(told).toEqual([[['1']]]);
    expect(outcomes).toEqual([]);
    connection.emit('dataRow', { fields: ['2'] });
    connection.emit('commandComplete', { text: 'SELECT 1' });
    connection.emit('readyForQuery', { status: 'I' });
    expect(told).toHaveLength(1);
    expect(outcomes).toEqual([{ error: null, rows: [['1'], ['2']] }]);
  });

  it('knows no statement that has not been parsed, nor one without a name', async () => {
    const { connection } = await session();
    connection.parsedStatements[''] = 'COMMIT';
    for (const name of ['', 'other']) {
      expect(knows(connection as unknown as Connection, { name, text: 'COMMIT' })).toBe(false);
    }
  });

  it('hands over its rows as text, once they are all there', async () => {
    const { send, answer, connection, outcomes } = await session();
    send('q');
    connection.emit('dataRow', { fields: ['1', null] });
    expect(outcomes).toEqual([]);
    answer([['2', '']]);
    send('q');
    answer();
    expect(outcomes).toEqual([
      {
        error: null,
        rows: [
          ['1', null],
          ['2', ''],
        ],
      },
      { error: null, rows: [] },
    ]);
  });

  it('hands over an error once, without rows, and leaves the session usable', async () => {
    const { send, answer, refuse, connection, outcomes } = await session();
    const error = new Error('canceling statement due to statement timeout');
    send('q');
    connection.emit('dataRow', { fields: ['1'] });
    refuse(error);
    expect(outcomes).toEqual([{ error, rows: [] }]);
    send('q');
    answer([['2']]);
    expect(outcomes.slice(1)).toEqual([{ error: null, rows: [['2']] }]);
  });

  it('fails when its connection breaks', async () => {
    const { client, send, connection, outcomes } = await session();
    client.on('error', () => {});
    send('q');
    connection.emit('end');
    await new Promise(setImmediate);
    expect(outcomes.map(({ error }) => error?.message)).toEqual(['Connection terminated unexpectedly']);
  });
});
