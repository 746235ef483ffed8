import { createHash } from 'node:crypto';
import { types } from 'node:util';
import { InvalidPayloadError } from '../errors/payload.errors.js';
import { InvalidResultError } from '../errors/result.errors.js';
import { isInstance } from './is-instance.js';

/** How large an encoded payload may be, in bytes, unless the options say otherwise: 1 MiB. */
export const defaultMaxPayloadBytes = 1024 * 1024;

/** How deep a payload may be nested. PostgreSQL's own limit depends on its stack; this one is the same everywhere. */
export const maxPayloadDepth = 500;

/**
 * Encodes a payload as JSON text that PostgreSQL can store and that comes back as it went.
 *
 * JSON.stringify alone would drop functions, turn NaN into null and Maps into {}: that loses data without a word, so
 * everything that does not survive the round trip is refused. Properties that are undefined are left out, as usual;
 * a payload of undefined is stored as null.
 *
 * @throws InvalidPayloadError
 */
export function encodePayload(task: string, payload: unknown, maxBytes = defaultMaxPayloadBytes): string {
  return encode(task, payload, maxBytes, InvalidPayloadError);
}

/**
 * Encodes what a handler returned, by the same rules and with the same limit.
 *
 * @throws InvalidResultError
 */
export function encodeResult(task: string, result: unknown, maxBytes = defaultMaxPayloadBytes): string {
  return encode(task, result, maxBytes, InvalidResultError);
}

/** What is thrown for a value that cannot be stored. */
type Refusal = typeof InvalidPayloadError | typeof InvalidResultError;

function encode(task: string, value: unknown, maxBytes: number, Invalid: Refusal): string {
  const text = stringify(task, value, Invalid);
  // No character takes more than three bytes, so most payloads need no exact count.
  if (text.length * 3 > maxBytes && Buffer.byteLength(text) > maxBytes) {
    throw new Invalid(task, `it takes ${Buffer.byteLength(text)} bytes, the limit is ${maxBytes}`);
  }
  if (text.length > 2 * maxPayloadDepth && depth(text) > maxPayloadDepth) {
    throw new Invalid(task, `it is nested deeper than ${maxPayloadDepth} levels`);
  }
  return text;
}

/** Encodes what each task of a schedule gets with its tick added, so it is an object without one. @throws InvalidPayloadError */
export function encodeSchedulePayload(task: string, payload: unknown, maxBytes = defaultMaxPayloadBytes): string {
  const text = encodePayload(task, payload, maxBytes);
  if (!text.startsWith('{')) {
    throw new InvalidPayloadError(task, 'a schedule needs an object, since each task gets it with its tick');
  }
  if (Object.hasOwn(JSON.parse(text) as object, 'tick')) {
    throw new InvalidPayloadError(task, 'it has a tick of its own, which the time of each tick would replace');
  }
  return text;
}

/** A hash of a task's name and payload that does not depend on the order of keys. */
export function payloadKey(name: string, text: string): string {
  return createHash('sha256')
    .update(`${name}\n${canonical(JSON.parse(text))}`)
    .digest('hex');
}

function stringify(task: string, value: unknown, Invalid: Refusal): string {
  try {
    return JSON.stringify(value, isPlain(value) ? undefined : refuseLoss) ?? 'null';
  } catch (error) {
    if (isInstance(error, Loss)) throw new Invalid(task, error.message);
    if (isInstance(error, RangeError) && error.message.includes('call stack')) {
      throw new Invalid(task, `it is nested deeper than ${maxPayloadDepth} levels`, { cause: error });
    }
    const reason = isInstance(error, Error) ? (error.message.split('\n')[0] ?? '') : 'something that is not an Error';
    throw new Invalid(task, `encoding it threw: ${reason}`, { cause: error });
  }
}

/** Deeper ones, and circular ones, are for the thorough way. */
const plainDepth = 20;

/** Whether this is plain data without loss, as most payloads are: it needs no replacer, which takes several times as long. */
function isPlain(value: unknown, depth = 0): boolean {
  switch (typeof value) {
    case 'string':
      return storable(value);
    case 'number':
      return Number.isFinite(value);
    case 'boolean':
    case 'undefined':
      return true;
    case 'object':
      return value === null || (depth < plainDepth && isPlainObject(value, depth));
    default:
      return false;
  }
}

function isPlainObject(value: object, depth: number): boolean {
  if ('toJSON' in value) return false;
  if (Array.isArray(value)) return value.every((item) => isPlain(item, depth + 1));
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  for (const key in value) {
    if (!storable(key) || !isPlain((value as Record<string, unknown>)[key], depth + 1)) return false;
  }
  return true;
}

class Loss extends Error {}

/** A JSON.stringify replacer: sees every key and every value after its toJSON(); `this` is what holds them. */
function refuseLoss(this: unknown, key: string, value: unknown): unknown {
  if (!storable(key)) throw new Loss(`the key ${JSON.stringify(key)} holds ${unstorable}`);
  switch (typeof value) {
    case 'string':
      if (!storable(value)) throw new Loss(`${at(key)} holds ${unstorable}`);
      return value;
    case 'number':
      if (!Number.isFinite(value)) throw new Loss(`${at(key)} is ${value}, which JSON does not know`);
      return value;
    case 'bigint':
      throw new Loss(`${at(key)} is a BigInt; convert it to a string`);
    case 'function':
    case 'symbol':
      throw new Loss(`${at(key)} is a ${typeof value}`);
    case 'object':
      if (value === null) {
        const before = (this as Record<string, unknown>)[key];
        if (before instanceof Date && Number.isNaN(before.getTime())) throw new Loss(`${at(key)} is an invalid Date`);
        return value;
      }
      if (types.isBoxedPrimitive(value)) return refuseLoss.call(this, key, value.valueOf());
      if (value instanceof Map || value instanceof Set) {
        throw new Loss(`${at(key)} is a ${value.constructor.name}; convert it to an array`);
      }
      if (value instanceof Promise) throw new Loss(`${at(key)} is a Promise; await it first`);
      return value;
    default:
      return value;
  }
}

const unstorable = 'a NUL character or a lone surrogate, which PostgreSQL cannot store';

/** Whether PostgreSQL can store the text. */
export function storable(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0');
}

function at(key: string): string {
  return key === '' ? 'it' : `the value of ${JSON.stringify(key)}`;
}

/** How deep the JSON text nests; brackets inside strings do not count. */
function depth(text: string): number {
  let level = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (inString) {
      if (char === 92 /* \ */) i++;
      else if (char === 34 /* " */) inString = false;
    } else if (char === 34) inString = true;
    else if (char === 123 /* { */ || char === 91 /* [ */) deepest = Math.max(deepest, ++level);
    else if (char === 125 /* } */ || char === 93 /* ] */) level--;
  }
  return deepest;
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, entry]) => `${JSON.stringify(key)}:${canonical(entry)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}
