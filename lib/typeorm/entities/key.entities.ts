import { EntitySchema } from 'typeorm';
import { type Place, timestamptz } from './columns.js';

/** A row of `unique_window`: a unique key that is held for a time. */
export interface UniqueWindowRow {
  queue: string;
  name: string;
  uniqueKey: string;
  /** The task that holds it, which may be gone. */
  taskId: string;
  until: Date;
}

/** A row of `paused_lane`: a concurrency key of a task on a queue that is paused. */
export interface PausedLaneRow {
  queue: string;
  name: string;
  lane: string;
  pausedAt: Date;
}

/** What is known of unique keys and of concurrency keys beside the tasks that have them. */
export function keyEntities(place: Place) {
  return {
    uniqueWindow: new EntitySchema<UniqueWindowRow>({
      ...place,
      name: 'BackieUniqueWindow',
      tableName: 'unique_window',
      columns: {
        queue: { type: 'text', primary: true },
        name: { type: 'text', primary: true },
        uniqueKey: { type: 'text', name: 'unique_key', primary: true },
        taskId: { type: 'uuid', name: 'task_id' },
        until: { ...timestamptz },
      },
    }),
    pausedLane: new EntitySchema<PausedLaneRow>({
      ...place,
      name: 'BackiePausedLane',
      tableName: 'paused_lane',
      columns: {
        queue: { type: 'text', primary: true },
        name: { type: 'text', primary: true },
        lane: { type: 'text', primary: true },
        pausedAt: { ...timestamptz, name: 'paused_at' },
      },
    }),
  };
}
