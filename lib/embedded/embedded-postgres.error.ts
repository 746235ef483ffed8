import { BackieError } from '../errors/backie.error.js';

/** The embedded PostgreSQL could not be started or reached. The message names the obstacle and what to do about it. */
export class EmbeddedPostgresError extends BackieError {}
