import type { MigrationInterface } from 'typeorm';
import { defaultSchema } from '../identifiers.js';
import { createBackie } from './create-backie.js';

/**
 * The migrations of this package, to be spread into an application's own:
 * `migrations: [...backieMigrations(), 'dist/migrations/*.js']`, with `migrations: 'check'` in the module's options.
 *
 * @param options.schema The module's `schema`. @default 'backie'
 */
export function backieMigrations(options: { readonly schema?: string } = {}): (new () => MigrationInterface)[] {
  return [createBackie(options.schema ?? defaultSchema)];
}
