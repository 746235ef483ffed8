import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { defaultMaxPayloadBytes, encodePayload, maxPayloadDepth, payloadKey } from '../../lib/engine/payload.js';
import { InvalidPayloadError } from '../../lib/errors/payload.errors.js';

const encode = (payload: unknown, maxBytes?: number) => encodePayload('work', payload, maxBytes);
const nested = (levels: number, wrap: (inner: unknown) => unknown): unknown => {
  let value: unknown = 0;
  for (let i = 0; i < levels; i++) value = wrap(value);
  return value;
};

/** Without -0, the only value that JSON itself changes. */
const jsonValue = (stringUnit: 'grapheme' | 'binary') =>
  fc.jsonValue({ stringUnit }).map((value): unknown => JSON.parse(JSON.stringify(value)));
const holdsNul = (value: unknown) => JSON.stringify(value).replaceAll('\\\\', '').includes('\\u0000');

describe('an encoded payload', () => {
  it('comes back as it went, or is refused for a NUL', () => {
    fc.assert(
      fc.property(jsonValue('binary'), (value) => {
        if (holdsNul(value)) expect(() => encode(value)).toThrow(InvalidPayloadError);
        else expect(JSON.parse(encode(value))).toEqual(value);
      }),
    );
  });

  it('comes back as it went, whatever graphemes its text is made of', () => {
    fc.assert(
      fc.property(jsonValue('grapheme'), (value) => {
        expect(JSON.parse(encode(value))).toEqual(value);
      }),
    );
  });

  it.each<[string, unknown, string]>([
    ['undefined as null', undefined, 'null'],
    ['null', null, 'null'],
    ['a Date by its toJSON', { at: new Date(0) }, '{"at":"1970-01-01T00:00:00.000Z"}'],
    ['an object without properties that are undefined', { a: undefined, b: 1 }, '{"b":1}'],
    ['an object without a prototype', Object.assign(Object.create(null), { a: 1 }), '{"a":1}'],
    ['boxed values', [Object('a'), Object(1), Object(true)], '["a",1,true]'],
    ['a key that other objects inherit', JSON.parse('{"__proto__":1}'), '{"__proto__":1}'],
  ])('stores %s', (_, payload, text) => {
    expect(encode(payload)).toBe(text);
  });

  const circular: Record<string, unknown> = {};
  circular.self = circular;

  it.each<[string, unknown, string]>([
    ['a circular structure', circular, 'encoding it threw: Converting circular structure'],
    ['a BigInt', { n: 1n }, 'the value of "n" is a BigInt; convert it to a string'],
    ['a boxed BigInt', Object(1n), 'it is a BigInt'],
    ['a boxed symbol', [Object(Symbol('s'))], 'the value of "0" is a symbol'],
    ['NaN', { n: Number.NaN }, 'the value of "n" is NaN, which JSON does not know'],
    ['Infinity', [-Infinity], 'the value of "0" is -Infinity'],
    ['a boxed NaN', { n: Object(Number.NaN) }, 'the value of "n" is NaN'],
    ['an invalid Date', { at: new Date(Number.NaN) }, 'the value of "at" is an invalid Date'],
    ['a function', { f: () => 1 }, 'the value of "f" is a function'],
    ['a function itself', () => 1, 'it is a function'],
    ['a symbol', { s: Symbol('s') }, 'the value of "s" is a symbol'],
    ['a Map', { m: new Map() }, 'the value of "m" is a Map; convert it to an array'],
    ['a Set', new Set([1]), 'it is a Set; convert it to an array'],
    ['a Promise', { p: Promise.resolve() }, 'the value of "p" is a Promise; await it first'],
    ['a NUL in text', 'a\0b', 'it holds a NUL character or a lone surrogate'],
    ['a NUL in boxed text', [Object('\0')], 'the value of "0" holds a NUL'],
    ['a NUL in a key', { 'a\0': 1 }, 'the key "a\\u0000" holds a NUL'],
    ['a lone surrogate', { s: '\uD83D' }, 'the value of "s" holds a NUL character or a lone surrogate'],
    ['a lone surrogate in a key', { '\uDE00': 1 }, 'holds a NUL character or a lone surrogate'],
    [
      'a getter that throws',
      {
        get a() {
          throw new Error('first line\nsecond');
        },
      },
      'encoding it threw: first line.',
    ],
    [
      'a toJSON that throws anything',
      {
        toJSON() {
          throw undefined;
        },
      },
      'encoding it threw: something that is not an Error',
    ],
    [
      'a toJSON that throws a revoked proxy',
      {
        toJSON() {
          const { proxy, revoke } = Proxy.revocable({}, {});
          revoke();
          throw proxy;
        },
      },
      'encoding it threw: something that is not an Error',
    ],
    [
      'a toJSON that throws a RangeError',
      { toJSON: () => new Date(Number.NaN).toISOString() },
      'encoding it threw: Invalid time value.',
    ],
    ['a toJSON that gives what is refused', { toJSON: () => 1n }, 'it is a BigInt'],
  ])('refuses %s', (_, payload, reason) => {
    const refused = (() => {
      try {
        return encode(payload);
      } catch (error) {
        return error;
      }
    })();
    expect(refused).toBeInstanceOf(InvalidPayloadError);
    expect((refused as Error).message).toContain('The payload of task "work" cannot be stored: ');
    expect((refused as Error).message).toContain(reason);
  });

  it.each<[string, number, (inner: unknown) => unknown]>([
    ['arrays', maxPayloadDepth, (inner) => [inner]],
    ['objects', maxPayloadDepth, (inner) => ({ a: inner })],
    // The neighbours of the innermost value are one level deeper than it is.
    ['arrays with neighbours', maxPayloadDepth - 1, (inner) => [{}, inner, []]],
  ])(`may be nested exactly ${maxPayloadDepth} levels deep, made of %s`, (_, levels, wrap) => {
    expect(() => encode(nested(levels, wrap))).not.toThrow();
    expect(() => encode(nested(levels + 1, wrap))).toThrow(`it is nested deeper than ${maxPayloadDepth} levels`);
  });

  it('counts no bracket inside text as a level', () => {
    const text = '[{"\\'.repeat(maxPayloadDepth * 2);
    expect(JSON.parse(encode({ [text]: [text] }))).toEqual({ [text]: [text] });
  });

  it('is refused, not a crash, when it is nested too deep for the encoder', () => {
    expect(() => encode(nested(200_000, (inner) => [inner]))).toThrow(InvalidPayloadError);
  });

  it('may take exactly the limit of bytes, whatever characters it is made of', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), (value) => {
        const bytes = Buffer.byteLength(JSON.stringify(value));
        expect(() => encode(value, bytes)).not.toThrow();
        expect(() => encode(value, bytes - 1)).toThrow(`it takes ${bytes} bytes, the limit is ${bytes - 1}`);
      }),
    );
  });

  it.each(['x', 'é', '€', '😀'])('may take 1 MiB of %s by default', (unit) => {
    const count = Math.floor((defaultMaxPayloadBytes - 2) / Buffer.byteLength(unit));
    expect(() => encode(unit.repeat(count))).not.toThrow();
    expect(() => encode(unit.repeat(count + 1))).toThrow(InvalidPayloadError);
  });
});

describe("a payload's key", () => {
  const reversed = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(reversed);
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value).map(([key, entry]): [string, unknown] => [key, reversed(entry)]);
    return Object.fromEntries(entries.reverse());
  };

  it('does not depend on the order of keys', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(payloadKey('work', JSON.stringify(reversed(value)))).toBe(payloadKey('work', JSON.stringify(value)));
      }),
    );
    expect(payloadKey('work', '{"b":{"d":1,"c":2},"a":3}')).toBe(payloadKey('work', '{ "a": 3, "b": {"c":2,"d":1} }'));
  });

  it('differs by payload', () => {
    fc.assert(
      fc.property(jsonValue('grapheme'), jsonValue('grapheme'), (a, b) => {
        fc.pre(!isDeepStrictEqual(a, b));
        expect(payloadKey('work', JSON.stringify(a))).not.toBe(payloadKey('work', JSON.stringify(b)));
      }),
    );
    expect(payloadKey('work', '[1,2]')).not.toBe(payloadKey('work', '[2,1]'));
    expect(payloadKey('work', '[1]')).not.toBe(payloadKey('work', '["1"]'));
    expect(payloadKey('work', '{}')).not.toBe(payloadKey('work', '[]'));
  });

  it('differs by name, also when the name looks like part of the payload', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.jsonValue(), (a, b, value) => {
        fc.pre(a !== b);
        expect(payloadKey(a, JSON.stringify(value))).not.toBe(payloadKey(b, JSON.stringify(value)));
      }),
    );
    expect(payloadKey('a\n1', '2')).not.toBe(payloadKey('a', '12'));
  });
});
