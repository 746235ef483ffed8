import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { storable } from '../../lib/engine/payload.js';
import { storedError } from '../../lib/engine/stored-error.js';
import type { StoredError } from '../../lib/engine/task.js';

const limit = 8 * 1024;

function chain(error: StoredError | undefined): StoredError[] {
  return error ? [error, ...chain(error.cause)] : [];
}

function texts(error: StoredError): string[] {
  return chain(error).flatMap(({ name, message, stack = '' }) => [name, message, stack]);
}

const sizeOf = (error: StoredError) => texts(error).reduce((sum, text) => sum + text.length, 0);

function revoked(target: object): object {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

function throwing(of: readonly string[], thrown: unknown): Error {
  const error = new Error('unseen');
  // The stack is made when it is first read or replaced, and reads the others then.
  void error.stack;
  for (const key of of) {
    Object.defineProperty(error, key, {
      get() {
        throw thrown;
      },
    });
  }
  return error;
}

const longText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.tuple(fc.constantFrom('x', '\0', '\uD800', '😀', 'é'), fc.nat(20_000)).map(([unit, times]) => unit.repeat(times)),
);
/** Makes whatever a handler may throw, causes included; a maker, since nobody may touch a revoked proxy. */
type Make = () => unknown;

const { thrown } = fc.letrec<{ thrown: Make; error: Make }>((tie) => ({
  thrown: fc.oneof(
    { maxDepth: 8 },
    fc.anything({ withBigInt: true, withBoxedValues: true, withDate: true, withMap: true }).map((value) => () => value),
    longText.map((text) => () => text),
    fc.constantFrom<Make>(
      () => undefined,
      () => Symbol('s'),
      () => () => 1,
      () => revoked({}),
      () => revoked(() => {}),
      () => revoked(new Error('gone')),
      () => ({ toJSON: () => undefined }),
      () => ({ toString: () => ({}), toJSON: () => revoked({}) }),
    ),
    tie('error'),
  ),
  error: fc.oneof(
    fc
      .record({ name: fc.anything(), message: fc.anything(), stack: fc.anything() })
      .map((fields) => () => Object.assign(new Error('plain'), fields)),
    fc.tuple(longText, longText, longText, tie('thrown')).map(
      ([name, message, stack, cause]) =>
        () =>
          Object.assign(new Error(message, { cause: cause() }), { name, stack }),
    ),
    fc.tuple(fc.subarray(['name', 'message', 'stack', 'cause']), fc.anything()).map(
      ([of, what]) =>
        () =>
          throwing(of, what),
    ),
  ),
}));

describe('a stored error', () => {
  it('is text of at most 8 KiB characters that PostgreSQL can store, whatever was thrown', () => {
    fc.assert(
      fc.property(thrown, (make) => {
        const error = storedError(make());
        expect(sizeOf(error)).toBeLessThanOrEqual(limit);
        expect(texts(error).every((text) => typeof text === 'string' && storable(text))).toBe(true);
        expect(JSON.parse(JSON.stringify(error))).toEqual(error);
      }),
      { numRuns: 1_000 },
    );
  });

  it('takes at most 8 KiB of characters when every error of the chain is a flood', () => {
    const flood = (causes: number): Error => {
      const options = causes > 0 ? { cause: flood(causes - 1) } : {};
      const [name, stack] = ['n'.repeat(10_000), 's'.repeat(10_000)];
      return Object.assign(new Error('m'.repeat(10_000), options), { name, stack });
    };
    for (const causes of [0, 1, 2, 3, 4, 5, 6, 10]) {
      expect(sizeOf(storedError(flood(causes)))).toBeLessThanOrEqual(limit);
    }
  });

  it('keeps name, message and stack of an ordinary error', () => {
    const error = new TypeError('no such user');
    expect(storedError(error)).toEqual({ name: 'TypeError', message: 'no such user', stack: error.stack });
  });

  it('keeps the chain of causes, outermost first', () => {
    const error = new Error('a', { cause: new TypeError('b', { cause: 'c' }) });
    expect(chain(storedError(error)).map(({ name, message }) => [name, message])).toEqual([
      ['Error', 'a'],
      ['TypeError', 'b'],
      ['NonError', 'c'],
    ]);
  });

  it('keeps at most five causes', () => {
    let error = new Error('0');
    for (let i = 1; i <= 20; i++) error = new Error(String(i), { cause: error });
    expect(chain(storedError(error)).map(({ message }) => message)).toEqual(['20', '19', '18', '17', '16', '15']);
  });

  it('ends the chain of an error that is its own cause', () => {
    const [a, b] = [new Error('a'), new Error('b')];
    a.cause = b;
    b.cause = a;
    expect(chain(storedError(a)).map(({ message }) => message)).toEqual(['a', 'b', 'a', 'b', 'a', 'b']);
  });

  it('gives no stack rather than a stump of it, however deep the chain', () => {
    let error: Error | undefined;
    for (let i = 0; i < 6; i++) error = Object.assign(new Error('m', { cause: error }), { stack: '' });
    expect(chain(storedError(error)).every(({ stack }) => stack === undefined)).toBe(true);
  });

  it.each<{ message: string; value: () => unknown }>([
    { message: 'undefined', value: () => undefined },
    { message: 'null', value: () => null },
    { message: 'text', value: () => 'text' },
    { message: '42', value: () => 42n },
    { message: 'Symbol(s)', value: () => Symbol('s') },
    { message: '{"code":7}', value: () => ({ code: 7 }) },
    { message: '{}', value: () => Object.create(null) },
    { message: 'a value that cannot be shown', value: () => revoked({}) },
  ])('shows a thrown value that is no Error as $message', ({ message, value }) => {
    expect(storedError(value())).toEqual({ name: 'NonError', message });
  });

  it('knows an error of another realm', () => {
    expect(storedError(runInNewContext(`new TypeError('elsewhere')`))).toMatchObject({
      name: 'TypeError',
      message: 'elsewhere',
    });
  });

  it('says so when the message cannot be read', () => {
    expect(storedError(throwing(['name', 'message', 'stack', 'cause'], revoked({})))).toEqual({
      name: 'Error',
      message: 'an error whose message cannot be read',
    });
  });

  it('replaces what PostgreSQL cannot store and marks what it cut', () => {
    expect(storedError('a\0b\uD800').message).toBe('a\uFFFDb\uFFFD');
    const { message } = storedError('😀'.repeat(10_000));
    expect(message.endsWith('…')).toBe(true);
    expect(storable(message)).toBe(true);
  });
});
