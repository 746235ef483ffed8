export { EmbeddedPostgresError } from './embedded-postgres.error.js';
export type { EmbeddedPostgres, EmbeddedPostgresOptions } from './embedded-postgres.interface.js';
export { startEmbeddedPostgres } from './embedded-postgres.starter.js';
