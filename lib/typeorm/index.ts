export type { ConnectionSource, PostgresOptions } from './connection-options.js';
export { backieEntities } from './entities/index.js';
export type {
  FinishedTaskRow,
  PausedLaneRow,
  QueueRow,
  RateBucketRow,
  ScheduleRow,
  StoredAttempt,
  TaskRow,
  TaskSettingRow,
  UniqueWindowRow,
  WorkerRow,
} from './entities/index.js';
export type { MigrationMode } from './migrate.js';
export { backieMigrations } from './migrations/index.js';
export { TypeOrmTaskStore } from './typeorm-task-store.js';
export type { TypeOrmTaskStoreOptions } from './typeorm-task-store.options.js';
