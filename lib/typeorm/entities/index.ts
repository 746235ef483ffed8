export { backieEntities } from './backie-entities.js';
export type { PausedLaneRow, UniqueWindowRow } from './key.entities.js';
export type { QueueRow, RateBucketRow, TaskSettingRow } from './limit.entities.js';
export type { ScheduleRow } from './schedule.entity.js';
export type { FinishedTaskRow, StoredAttempt, TaskRow } from './task.entities.js';
export type { WorkerRow } from './worker.entity.js';
