import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidOptionsError } from '../../lib/errors/configuration.errors.js';
import { channelOf, defaultSchema, quoteSchema } from '../../lib/typeorm/identifiers.js';

const schema = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 63 })
  .filter((name) => Buffer.byteLength(name) <= 63 && !name.toLowerCase().startsWith('pg_'));

/** Reads a quoted identifier as PostgreSQL does; undefined when it ends before the text does. */
function unquoted(text: string): string | undefined {
  const inside = /^"((?:[^"]|"")*)"$/s.exec(text)?.[1];
  return inside?.replaceAll('""', '"');
}

describe('a schema name', () => {
  it('is quoted so that PostgreSQL reads exactly it', () => {
    fc.assert(
      fc.property(schema, (name) => {
        expect(unquoted(quoteSchema(name))).toBe(name);
      }),
    );
  });

  it.each([
    ['backie', '"backie"'],
    ['My Schema', '"My Schema"'],
    ['a"; DROP TABLE b; --', '"a""; DROP TABLE b; --"'],
    ['"', '""""'],
    ['xpg_', '"xpg_"'],
  ])('%s is written %s', (name, quoted) => {
    expect(quoteSchema(name)).toBe(quoted);
  });

  it.each(['x', 'é', '€', '😀'])('made of %s may take 63 bytes, which PostgreSQL would else cut', (unit) => {
    const count = Math.floor(63 / Buffer.byteLength(unit));
    expect(unquoted(quoteSchema(unit.repeat(count)))).toBe(unit.repeat(count));
    expect(() => quoteSchema(unit.repeat(count + 1))).toThrow(InvalidOptionsError);
  });

  it.each(['', 'pg_catalog', 'PG_temp', 'a\0b', '\uD800'])(
    'is refused when PostgreSQL does not allow it: %j',
    (name) => {
      expect(() => quoteSchema(name)).toThrow(InvalidOptionsError);
      expect(() => quoteSchema(name)).toThrow(`not ${JSON.stringify(name)}`);
    },
  );
});

describe("a schema's channel", () => {
  it('is another for each schema, and an identifier without quotes to mind', () => {
    fc.assert(
      fc.property(schema, schema, (a, b) => {
        expect(channelOf(a) === channelOf(b)).toBe(a === b);
        expect(channelOf(a)).toMatch(/^backie:[0-9a-f]{16}$/);
      }),
    );
  });

  it('never changes: processes of different versions must hear each other', () => {
    expect(channelOf(defaultSchema)).toBe('backie:6901d8c0f54a9c46');
  });
});
