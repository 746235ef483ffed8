import { storable } from '../engine/payload.js';
import { InvalidOptionsError } from '../errors/configuration.errors.js';

/** Says what is wrong with a value, or nothing. */
export type Check = (value: unknown) => string | undefined;

/**
 * Refuses options that do not exist and values that do not fit. A typo that is ignored costs a day; here it is named,
 * with the option that was probably meant.
 *
 * @param where What the options belong to, for the message.
 * @throws InvalidOptionsError
 */
export function checkOptions(where: string, options: unknown, checks: Readonly<Record<string, Check>>): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new InvalidOptionsError(`${where}: options must be an object, not ${shown(options)}.`);
  }
  for (const [key, value] of Object.entries(options)) {
    const check = Object.hasOwn(checks, key) ? checks[key] : undefined;
    if (!check) {
      const nearest = closest(key, Object.keys(checks));
      throw new InvalidOptionsError(
        `${where}: there is no option ${JSON.stringify(key)}.` +
          (nearest ? ` Did you mean ${JSON.stringify(nearest)}?` : ` Options: ${Object.keys(checks).join(', ')}.`),
      );
    }
    const problem = value === undefined ? undefined : check(value);
    if (problem) throw new InvalidOptionsError(`${where}: ${key} must be ${problem}, not ${shown(value)}.`);
  }
}

/** Refuses a value that is no name: of a queue, a task, an instance or a unique key. */
export function checkName(what: string, value: unknown, maxLength: number): void {
  const problem = name(maxLength)(value);
  if (problem) throw new InvalidOptionsError(`${what} must be ${problem}, not ${shown(value)}.`);
}

export const maxNameLength = 128;
export const maxKeyLength = 255;
export { maxTimerMs } from '../engine/delay.js';

export const name =
  (maxLength: number): Check =>
  (value) =>
    typeof value === 'string' && value.length > 0 && value.length <= maxLength && storable(value)
      ? undefined
      : `a string of 1 to ${maxLength} characters that PostgreSQL can store`;

export const integer =
  (min: number, max: number): Check =>
  (value) =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : `an integer from ${min} to ${max}`;

export const milliseconds =
  (min: number, max: number): Check =>
  (value) =>
    typeof value === 'number' && value >= min && value <= max
      ? undefined
      : `a number of milliseconds from ${min} to ${max}`;

export const oneOf =
  (...values: readonly string[]): Check =>
  (value) =>
    values.includes(value as string) ? undefined : `one of ${values.map((v) => JSON.stringify(v)).join(', ')}`;

export const boolean: Check = (value) => (typeof value === 'boolean' ? undefined : 'true or false');

export const object: Check = (value) => (typeof value === 'object' && value !== null ? undefined : 'an object');

const backoffKinds = ['none', 'fixed', 'linear', 'exponential'];

export const backoff: Check = (value) => {
  if (typeof value === 'function') return undefined;
  const kind = typeof value === 'object' && value !== null && 'kind' in value ? value.kind : undefined;
  return backoffKinds.includes(kind as string)
    ? undefined
    : 'a Backoff, such as Backoff.fixed(1_000), or a function (retries, error) => ms';
};

export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'an invalid Date' : value.toISOString();
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object';
  return typeof value === 'function' ? 'a function' : String(value);
}

/** The candidate that is fewest edits away, when it is near enough to be meant. */
function closest(typed: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates
    .map((candidate) => ({ candidate, edits: editDistance(typed.toLowerCase(), candidate.toLowerCase()) }))
    .toSorted((a, b) => a.edits - b.edits);
  const best = ranked[0];
  return best && best.edits <= Math.max(2, typed.length / 2) ? best.candidate : undefined;
}

/** Levenshtein's distance, row by row. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitution, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
