import { createHash } from 'node:crypto';
import { InvalidOptionsError } from '../errors/configuration.errors.js';
import { storable } from '../engine/payload.js';

/** The schema that holds the tables unless the options say otherwise. */
export const defaultSchema = 'backie';

/** PostgreSQL cuts longer identifiers without a word, and two schemas would become one. */
const maxIdentifierBytes = 63;

/** Quotes a schema name for SQL; any name that PostgreSQL allows works. */
export function quoteSchema(schema: string): string {
  const bytes = Buffer.byteLength(schema);
  if (bytes === 0 || bytes > maxIdentifierBytes || !storable(schema) || schema.toLowerCase().startsWith('pg_')) {
    throw new InvalidOptionsError(
      `schema must be a PostgreSQL identifier of 1 to ${maxIdentifierBytes} bytes that does not start with "pg_", ` +
        `not ${JSON.stringify(schema)}.`,
    );
  }
  return `"${schema.replaceAll('"', '""')}"`;
}

/** The LISTEN channel of a schema: instances that share a database but not a schema do not wake each other. */
export function channelOf(schema: string): string {
  return `backie:${createHash('sha256').update(schema).digest('hex').slice(0, 16)}`;
}
