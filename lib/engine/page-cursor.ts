import { InvalidOptionsError } from '../errors/configuration.errors.js';
import type { PageRequest } from './task-lookup.js';

const maxLimit = 1_000;
const cursor = /^after:([0-9a-f-]{36})$/;

/** A page request as every store understands it. */
export interface Page {
  readonly limit: number;
  /** The id after which the page begins, or null. */
  readonly after: string | null;
  readonly oldestFirst: boolean;
}

/** @throws InvalidOptionsError */
export function readPage({ limit = 100, after, order }: PageRequest): Page {
  if (!(Number.isInteger(limit) && limit >= 1 && limit <= maxLimit)) {
    throw new InvalidOptionsError(`The page's limit must be an integer from 1 to ${maxLimit}, not ${String(limit)}.`);
  }
  const id = after === undefined ? null : cursor.exec(Buffer.from(after, 'base64url').toString())?.[1];
  if (id === undefined) {
    throw new InvalidOptionsError(
      `The page's after must be the "next" of the page before, not ${JSON.stringify(after)}.`,
    );
  }
  return { limit, after: id, oldestFirst: order === 'oldestFirst' };
}

/** The `next` of a page that ends with this task; opaque, so that what pages are ordered by stays ours to choose. */
export function cursorAfter(id: string): string {
  return Buffer.from(`after:${id}`).toString('base64url');
}
