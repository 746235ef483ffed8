import { DataSource, type DataSourceOptions } from 'typeorm';

/** The sample's tables live in a schema of their own, which `synchronize` expects to exist. */
export const inboxSchema = 'webhook_inbox';

export async function openDataSource(options?: DataSourceOptions): Promise<DataSource> {
  if (!options) throw new Error('The data source has no options.');
  const dataSource = await new DataSource(options).initialize();
  await dataSource.query(`CREATE SCHEMA IF NOT EXISTS ${inboxSchema}`);
  await dataSource.synchronize();
  return dataSource;
}
