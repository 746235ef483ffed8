import { EntitySchema } from 'typeorm';
import type { CatchUp } from '../../engine/schedule.js';
import { type Place, timestamptz } from './columns.js';

/** A row of `schedule`: one that a class declares, or that was made at run time. */
export interface ScheduleRow {
  name: string;
  task: string;
  queue: string;
  cron: string;
  timeZone: string;
  catchUp: CatchUp;
  payload: unknown;
  priority: number;
  maxRetries: number | null;
  timeoutMs: number | null;
  declared: boolean;
  revision: number;
  pausedAt: Date | null;
  nextAt: Date | null;
  lastAt: Date | null;
  /** Since when a declared one is no more: it is kept for the case that it comes back. */
  endedAt: Date | null;
  createdAt: Date;
}

export function scheduleEntity(place: Place) {
  return {
    schedule: new EntitySchema<ScheduleRow>({
      ...place,
      name: 'BackieSchedule',
      tableName: 'schedule',
      columns: {
        name: { type: 'text', primary: true },
        task: { type: 'text' },
        queue: { type: 'text' },
        cron: { type: 'text' },
        timeZone: { type: 'text', name: 'time_zone' },
        catchUp: { type: 'text', name: 'catch_up' },
        payload: { type: 'jsonb' },
        priority: { type: 'smallint' },
        maxRetries: { type: 'integer', name: 'max_retries', nullable: true },
        timeoutMs: { type: 'integer', name: 'timeout_ms', nullable: true },
        declared: { type: 'boolean' },
        revision: { type: 'integer' },
        pausedAt: { ...timestamptz, name: 'paused_at', nullable: true },
        nextAt: { ...timestamptz, name: 'next_at', nullable: true },
        lastAt: { ...timestamptz, name: 'last_at', nullable: true },
        endedAt: { ...timestamptz, name: 'ended_at', nullable: true },
        createdAt: { ...timestamptz, name: 'created_at' },
      },
    }),
  };
}
