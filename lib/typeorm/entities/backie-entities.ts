import { defaultSchema } from '../identifiers.js';
import type { Place } from './columns.js';
import { keyEntities } from './key.entities.js';
import { limitEntities } from './limit.entities.js';
import { scheduleEntity } from './schedule.entity.js';
import { taskEntities } from './task.entities.js';
import { workerEntity } from './worker.entity.js';

/**
 * The tables as TypeORM entities, for queries and joins of an application's own. Read through them; writing is the
 * store's business. They are `synchronize: false`: the migrations alone shape these tables.
 *
 * @param options.schema The module's `schema`. @default 'backie'
 */
export function backieEntities(options: { readonly schema?: string } = {}) {
  const place: Place = { schema: options.schema ?? defaultSchema, synchronize: false };
  return {
    ...taskEntities(place),
    ...workerEntity(place),
    ...limitEntities(place),
    ...keyEntities(place),
    ...scheduleEntity(place),
  };
}
