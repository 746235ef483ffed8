import type { EntityManager, EntityTarget } from 'typeorm';
import type { VersionedRow } from './rows/versioned-row.js';

const version = ['deleted', 'updatedAt', 'deliveryId'] as const satisfies readonly (keyof VersionedRow)[];

/**
 * Inserts the row, or replaces the one that stands there if that one is of an older version. Order and repetition make
 * no difference to what remains.
 */
export async function upsertLatest<Row extends VersionedRow>(
  manager: EntityManager,
  entity: new () => Row,
  row: NoInfer<Row>,
): Promise<void> {
  const target: EntityTarget<VersionedRow> = entity;
  const { columns, primaryColumns, tableName } = manager.dataSource.getMetadata(target);
  await manager
    .createQueryBuilder()
    .insert()
    .into(target)
    .values(row)
    .orUpdate(
      columns.map((column) => column.databaseName),
      primaryColumns.map((column) => column.databaseName),
      { overwriteCondition: { where: `${versionOf('EXCLUDED')} > ${versionOf(`"${tableName}"`)}` } },
    )
    .execute();
}

function versionOf(source: string): string {
  return `(${version.map((column) => `${source}."${column}"`).join(', ')})`;
}
