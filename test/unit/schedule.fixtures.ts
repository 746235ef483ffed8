import type { Schedule } from '../../lib/engine/schedule.js';

export function scheduleOf(fields: Partial<Schedule> = {}): Schedule {
  return {
    name: 'nightly',
    task: 'work',
    queue: 'default',
    cron: '0 * * * *',
    timeZone: 'UTC',
    catchUp: 'last',
    payload: '{}',
    priority: 0,
    maxRetries: null,
    timeoutMs: null,
    declared: false,
    revision: 1,
    paused: false,
    nextAt: null,
    lastAt: null,
    ...fields,
  };
}
