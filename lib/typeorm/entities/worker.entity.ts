import { EntitySchema } from 'typeorm';
import { type Place, timestamptz } from './columns.js';

/** A row of `worker`: a process that works. */
export interface WorkerRow {
  id: string;
  host: string;
  pid: number;
  version: string;
  queues: string[];
  startedAt: Date;
  leaseUntil: Date;
}

export function workerEntity(place: Place) {
  return {
    worker: new EntitySchema<WorkerRow>({
      ...place,
      name: 'BackieWorker',
      tableName: 'worker',
      columns: {
        id: { type: 'uuid', primary: true },
        host: { type: 'text' },
        pid: { type: 'integer' },
        version: { type: 'text' },
        queues: { type: 'jsonb' },
        startedAt: { ...timestamptz, name: 'started_at' },
        leaseUntil: { ...timestamptz, name: 'lease_until' },
      },
    }),
  };
}
