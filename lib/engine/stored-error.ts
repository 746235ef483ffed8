import { types } from 'node:util';
import { isInstance } from './is-instance.js';
import type { StoredError } from './task.js';

/** What a stored error may take in all, in characters; a flood of text must not swell the row. */
const maxLength = 8 * 1024;
const maxCauses = 5;

/**
 * Turns whatever was thrown into text that PostgreSQL can store. Handlers throw anything: undefined, proxies, errors
 * whose getters throw; none of it may take the worker down.
 */
export function storedError(thrown: unknown): StoredError {
  return describe(thrown, maxLength, maxCauses);
}

function describe(thrown: unknown, budget: number, causes: number): StoredError {
  if (!isError(thrown)) {
    return {
      name: 'NonError',
      message: clip(
        read(() => text(thrown), 'a value that cannot be shown'),
        budget / 2,
      ),
    };
  }
  const cause = read<unknown>(() => thrown.cause, undefined);
  const own = cause === undefined ? budget : budget / 2;
  const nameLength = Math.min(200, own / 4);
  const name = clip(
    read(() => String(thrown.name), 'Error'),
    nameLength,
  );
  const message = clip(
    read(() => String(thrown.message), 'an error whose message cannot be read'),
    own / 2,
  );
  const stack = clip(
    read(() => String(thrown.stack ?? ''), ''),
    own / 2 - nameLength,
  );
  return {
    name,
    message,
    ...(stack && { stack }),
    ...(cause !== undefined && causes > 0 && { cause: describe(cause, budget / 2, causes - 1) }),
  };
}

/** Errors of another realm are errors too. */
function isError(thrown: unknown): thrown is Error {
  return isInstance(thrown, Error) || types.isNativeError(thrown);
}

function text(value: unknown): string {
  return typeof value === 'object' && value !== null ? (JSON.stringify(value) ?? String(value)) : String(value);
}

function read<Value>(get: () => Value, otherwise: Value): Value {
  try {
    return get();
  } catch {
    return otherwise;
  }
}

/** Cuts and makes storable: PostgreSQL's text knows neither NUL nor lone surrogates. */
function clip(value: string, length: number): string {
  const cut = value.length > length ? `${value.slice(0, Math.max(0, length - 1))}…` : value;
  return cut.replaceAll('\0', '\uFFFD').toWellFormed();
}
