import { DataSource, type DataSourceOptions } from 'typeorm';

/** Opens a sample's data source; its tables live in a schema of their own, which `synchronize` expects to exist. */
export function openDataSource(schema: string): (options?: DataSourceOptions) => Promise<DataSource> {
  return async (options) => {
    if (!options) throw new Error('The data source has no options.');
    const dataSource = await new DataSource(options).initialize();
    await dataSource.query(`CREATE SCHEMA IF NOT EXISTS ${schema}`);
    await dataSource.synchronize();
    return dataSource;
  };
}
