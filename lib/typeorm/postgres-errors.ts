/** What a PostgreSQL or socket error means for us. The driver's errors carry a five-character SQLSTATE in `code`. */

interface CodedError {
  readonly code?: unknown;
  readonly driverError?: unknown;
}

export function sqlState(error: unknown): string | undefined {
  const coded = (typeof error === 'object' && error !== null ? error : {}) as CodedError;
  if (typeof coded.code === 'string') return coded.code;
  return coded.driverError === undefined ? undefined : sqlState(coded.driverError);
}

const socketErrors = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT',
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
  'ENETDOWN',
  'EADDRNOTAVAIL',
]);

/**
 * Whether the server has reported this and goes on with the session. All other errors leave the connection in an unknown
 * state. A server that speaks another language has other words for it: then the SQLSTATE tells.
 */
export function isServerError(error: unknown): boolean {
  if (typeof error !== 'object' || error === null || !('severity' in error)) return false;
  if (error.severity === 'ERROR') return true;
  return error.severity !== 'FATAL' && error.severity !== 'PANIC' && !endsSession.test(sqlState(error) ?? '');
}

/** Connection and authentication, a server that stops or is in trouble, sessions that are ended for being idle or slow. */
const endsSession = /^(08|28|57P|58|F0|XX)|^(25P03|25P04|3D000|53300)$/;

/**
 * Serialization failure, deadlock, and a row on its way to the default partition when one was made for its day: the
 * statement had no effect and may simply run again.
 */
export function isConflict(error: unknown): boolean {
  const state = sqlState(error);
  return state === '40001' || state === '40P01' || (state === '23514' && routineOf(error) === misrouted);
}

/** Whether a claim found no number for itself, since the server has started or crashed. */
export function isWithoutBase(error: unknown): boolean {
  return sqlState(error) === '23502' && (error as { readonly dataType?: unknown }).dataType === 'claim_number';
}

/** Who reports, in PostgreSQL's own code, that a standby has no such table. */
const unloggedRead = 'get_relation_info';

/** Who reports, in PostgreSQL's own code, that a row does not belong to the partition that it was sent to. */
const misrouted = 'ExecPartitionCheckEmitError';

function routineOf(error: unknown): unknown {
  return (error as { readonly routine?: unknown }).routine;
}

export function isUniqueViolation(error: unknown): boolean {
  return sqlState(error) === '23505';
}

/** A write in a read-only transaction: a standby, a primary that was demoted, a disk that is full. */
export function isReadOnly(error: unknown): boolean {
  // A standby says of a claim that it cannot even look at the table that does without the log.
  return sqlState(error) === '25006' || (sqlState(error) === '0A000' && routineOf(error) === unloggedRead);
}

/** A statement in a transaction in which an earlier one has failed. */
export function isAborted(error: unknown): boolean {
  return sqlState(error) === '25P02';
}

/** A statement waited for a lock longer than its lock_timeout. */
export function isLockTimeout(error: unknown): boolean {
  return sqlState(error) === '55P03';
}

/** A statement was cancelled: it took longer than its statement_timeout, or somebody asked for it. */
export function isCancelled(error: unknown): boolean {
  return sqlState(error) === '57014';
}

/** A change of a table lost against others: it waited too long, for a lock or at all, or stood in a deadlock. */
export function isBusy(error: unknown): boolean {
  return isLockTimeout(error) || isConflict(error) || isCancelled(error);
}

/** Our role lacks a right. */
export function isNotPermitted(error: unknown): boolean {
  return sqlState(error) === '42501';
}

/**
 * A partition that is to be made or dropped is so already, or its place is taken: a table or type of this name, a
 * partition that overlaps, rows in the default partition; no table at all.
 */
export function isPlaceTaken(error: unknown): boolean {
  return placeTaken.has(sqlState(error) ?? '');
}

/** Two that make a table at once meet at its type (42710), at its name (42P07) or in the catalog (23505). */
const placeTaken = new Set(['42710', '42P07', '23505', '42P17', '23514', '42P01']);

/** A prepared statement that the connection behind a transaction pooler does not know, or knows already. */
export function isLostStatement(error: unknown): boolean {
  const state = sqlState(error);
  return state === '26000' || state === '42P05';
}

/**
 * Whether the trouble lies in the connection or in the state of the server, so that trying again makes sense:
 * connection exceptions (08), insufficient resources (53), operator intervention (57: shutdown, crash, cancelled by
 * statement_timeout), lock not available (55P03), conflicts (40), read-only (25006, a standby or a demoted primary), a
 * password that is just being changed (28), the server's own trouble (58, XX).
 */
export function isTransient(error: unknown): boolean {
  const state = sqlState(error);
  if (state === undefined) return isDriverTimeout(error);
  if (socketErrors.has(state)) return true;
  return /^(08|28|40|53|57|58|XX)/.test(state) || state === '55P03' || isReadOnly(error);
}

/** The driver's own failures carry no code: "Connection terminated", "timeout exceeded when trying to connect" … */
function isDriverTimeout(error: unknown): boolean {
  return error instanceof Error && /connection terminated|timeout|not queryable|socket/i.test(error.message);
}

/** A refusal that waiting does not mend: a wrong password, an unknown role or database, a missing right. */
export function isRefusal(error: unknown): boolean {
  const state = sqlState(error);
  return state !== undefined && (state.startsWith('28') || state === '3D000' || state === '42501');
}
