import type { DataSource } from 'typeorm';
import { SchemaOutdatedError, SchemaTooNewError } from '../errors/store.errors.js';
import { channelOf } from './identifiers.js';
import { backieMigrations } from './migrations/index.js';
import { readSchemaVersion, schemaVersion } from './schema-version.js';

/** What to do about the tables at start: create and change them, only look at them, or trust that they are right. */
export type MigrationMode = 'run' | 'check' | 'off';

/**
 * Brings the schema up to date, or checks that it is.
 *
 * All in one transaction under a transaction-level advisory lock, so that processes that start together wait for each
 * other, one that is killed leaves nothing behind, and a transaction pooler is no obstacle.
 *
 * @throws SchemaTooNewError when a newer version of this package made the tables.
 * @throws SchemaOutdatedError when they are missing or older and `mode` is `'check'`.
 */
export async function migrate(dataSource: DataSource, schema: string, mode: MigrationMode): Promise<void> {
  if (mode === 'off') return;
  const found = await readSchemaVersion(dataSource, schema);
  if (found > schemaVersion) throw new SchemaTooNewError(schema, found, schemaVersion);
  if (found === schemaVersion) return;
  if (mode === 'check') throw new SchemaOutdatedError(schema, found, schemaVersion);
  // A higher level, should it be the role's default, would go on seeing what was there before the lock was waited for.
  await dataSource.transaction('READ COMMITTED', async ({ queryRunner }) => {
    if (!queryRunner) throw new Error('TypeORM gave a transaction without a query runner.');
    await queryRunner.query(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, [channelOf(schema)]);
    const meanwhile = await readSchemaVersion(queryRunner, schema);
    if (meanwhile > schemaVersion) throw new SchemaTooNewError(schema, meanwhile, schemaVersion);
    for (const Migration of backieMigrations({ schema })) await new Migration().up(queryRunner);
  });
}
