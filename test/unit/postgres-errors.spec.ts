import { describe, expect, it } from 'vitest';
import {
  isBusy,
  isConflict,
  isLostStatement,
  isNotPermitted,
  isPlaceTaken,
  isReadOnly,
  isRefusal,
  isServerError,
  isTransient,
  isUniqueViolation,
  sqlState,
} from '../../lib/typeorm/postgres-errors.js';

const kinds = {
  isBusy,
  isConflict,
  isLostStatement,
  isNotPermitted,
  isPlaceTaken,
  isReadOnly,
  isRefusal,
  isTransient,
  isUniqueViolation,
};
type Kind = keyof typeof kinds;

const coded = (code: string) => Object.assign(new Error(code), { code });
/** TypeORM wraps what the driver throws. */
const wrapped = (code: string) => Object.assign(new Error('QueryFailedError'), { driverError: coded(code) });

describe('an error of PostgreSQL', () => {
  it.each<[string, string, Kind[]]>([
    ['08000', 'connection exception', ['isTransient']],
    ['08006', 'connection failure', ['isTransient']],
    ['08P01', 'protocol violation', ['isTransient']],
    ['53300', 'too many connections', ['isTransient']],
    ['53100', 'disk full', ['isTransient']],
    ['57014', 'query cancelled', ['isTransient', 'isBusy']],
    ['57P01', 'admin shutdown', ['isTransient']],
    ['57P02', 'crash shutdown', ['isTransient']],
    ['57P03', 'cannot connect now', ['isTransient']],
    ['40001', 'serialization failure', ['isTransient', 'isConflict', 'isBusy']],
    ['40P01', 'deadlock', ['isTransient', 'isConflict', 'isBusy']],
    ['55P03', 'lock not available', ['isTransient', 'isBusy']],
    ['25006', 'read-only transaction', ['isTransient', 'isReadOnly']],
    ['58000', 'system error', ['isTransient']],
    ['26000', 'unknown prepared statement', ['isLostStatement']],
    ['42P05', 'prepared statement exists', ['isLostStatement']],
    ['23505', 'unique violation', ['isUniqueViolation', 'isPlaceTaken']],
    ['28P01', 'wrong password', ['isTransient', 'isRefusal']],
    ['28000', 'unknown role', ['isTransient', 'isRefusal']],
    ['3D000', 'unknown database', ['isRefusal']],
    ['42501', 'missing right', ['isRefusal', 'isNotPermitted']],
    ['22P02', 'invalid text', []],
    ['22P05', 'untranslatable character', []],
    ['23514', 'check violation', ['isPlaceTaken']],
    ['42P01', 'undefined table', ['isPlaceTaken']],
    ['42P07', 'duplicate table', ['isPlaceTaken']],
    ['42710', 'duplicate object', ['isPlaceTaken']],
    ['42P17', 'invalid object definition', ['isPlaceTaken']],
    ['42601', 'syntax error', []],
    ['25P02', 'transaction is aborted', []],
    ['XX000', 'internal error', ['isTransient']],
    ['55000', 'not in the right state', []],
    ['58030', 'input or output error', ['isTransient']],
    ['ECONNREFUSED', 'of a socket', ['isTransient']],
    ['ECONNRESET', 'of a socket', ['isTransient']],
    ['ECONNABORTED', 'of a socket', ['isTransient']],
    ['EPIPE', 'of a socket', ['isTransient']],
    ['ETIMEDOUT', 'of a socket', ['isTransient']],
    ['EHOSTUNREACH', 'of a socket', ['isTransient']],
    ['ENETUNREACH', 'of a socket', ['isTransient']],
    ['ENOTFOUND', 'of a name server', ['isTransient']],
    ['EAI_AGAIN', 'of a name server', ['isTransient']],
    ['ENOENT', 'of a socket file', ['isTransient']],
    ['ERR_INVALID_ARG_TYPE', 'of Node', []],
  ])('%s (%s) is %j, wrapped or not', (code, _, expected) => {
    for (const error of [coded(code), wrapped(code), { driverError: wrapped(code) }]) {
      expect(sqlState(error)).toBe(code);
      for (const [kind, is] of Object.entries(kinds)) {
        expect(is(error), `${kind} of ${code}`).toBe(expected.includes(kind as Kind));
      }
    }
  });

  it('is a conflict when a row met a partition that was just made, and not when a check of the table failed', () => {
    const check = coded('23514');
    expect(isConflict(Object.assign(check, { routine: 'ExecConstraints' }))).toBe(false);
    expect(isConflict(Object.assign(check, { routine: 'ExecPartitionCheckEmitError' }))).toBe(true);
  });

  it('is that of a standby when it cannot look at a table that does without the log', () => {
    const unsupported = coded('0A000');
    expect([isReadOnly(unsupported), isTransient(unsupported)]).toEqual([false, false]);
    Object.assign(unsupported, { routine: 'get_relation_info' });
    expect([isReadOnly(unsupported), isTransient(unsupported)]).toEqual([true, true]);
  });

  const reported = (severity: string, code: string) => isServerError(Object.assign(coded(code), { severity }));
  const usable = ['23505', '22P02', '25P02', '25006', '40001', '42501', '42P01', '55P03', '57014', '26000'];
  const over = ['57P01', '57P02', '57P03', '57P05', '25P03', '25P04', '08P01', '28P01', '3D000', '53300', '58030'];

  it('leaves the session usable as its severity says, whatever its code', () => {
    for (const code of [...usable, ...over]) {
      expect(reported('ERROR', code), code).toBe(true);
      expect(reported('FATAL', code), code).toBe(false);
      expect(reported('PANIC', code), code).toBe(false);
      // A proxy, or the driver itself, may use such codes too.
      expect(isServerError(coded(code)), code).toBe(false);
    }
  });

  it.each(['FEHLER', 'ОШИБКА', '致命错误'])(
    'leaves the session usable as its code says when its severity is %s',
    (severity) => {
      for (const code of usable) expect(reported(severity, code), code).toBe(true);
      for (const code of over) expect(reported(severity, code), code).toBe(false);
    },
  );

  it.each([
    ['Connection terminated unexpectedly', true],
    ['Connection terminated due to connection timeout', true],
    ['timeout exceeded when trying to connect', true],
    ['Query read timeout', true],
    ['Client has encountered a connection error and is not queryable', true],
    ["Cannot read properties of undefined (reading 'x')", false],
    ['', false],
  ])('without a code says by its text whether it is transient: "%s"', (message, transient) => {
    expect(isTransient(new Error(message))).toBe(transient);
  });

  it.each([undefined, null, 'Connection terminated', 7, {}, { code: 7 }, { code: undefined }, () => 1])(
    'is none of these when it is %s',
    (thrown) => {
      expect(sqlState(thrown)).toBeUndefined();
      expect(Object.values(kinds).map((is) => is(thrown))).toEqual(Object.keys(kinds).map(() => false));
    },
  );
});
