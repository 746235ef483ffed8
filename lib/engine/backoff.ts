import { InvalidOptionsError } from '../errors/configuration.errors.js';

/** Chooses the wait before a retry, in milliseconds, from the number of retries before (0 for the first) and the error. */
export type BackoffFunction = (retries: number, error: unknown) => number;

export type BackoffMode =
  | { readonly kind: 'none' }
  | { readonly kind: 'fixed'; readonly ms: number }
  | { readonly kind: 'linear'; readonly ms: number }
  | ({ readonly kind: 'exponential' } & ExponentialBackoff);

export interface ExponentialBackoff {
  /** The wait before the first retry, in milliseconds. @default 2_000 */
  readonly initialMs: number;
  /** By how much each wait is longer than the one before. @default 2 */
  readonly factor: number;
  /** No wait is longer, jitter apart, in milliseconds. @default 3_600_000 */
  readonly maxMs: number;
  /** At most this fraction, 0 to 1, is added at random, so that failures do not come back together. @default 0.1 */
  readonly jitter: number;
}

/** How long to wait before a failed task is tried again. */
export type Backoff = BackoffMode | BackoffFunction;

/**
 * The default, the one of Rust's Backie: `2^(retries + 1)` seconds (2, 4, 8 …), here capped at one hour and spread by
 * at most +10 %.
 */
const defaults: ExponentialBackoff = { initialMs: 2_000, factor: 2, maxMs: 3_600_000, jitter: 0.1 };

/** No wait is longer than this, whatever a backoff says: ten years of milliseconds, which every timestamp can hold. */
export const longestWaitMs = 10 * 365 * 24 * 3_600_000;

export const Backoff = {
  /** Retry at once. */
  none: (): Backoff => ({ kind: 'none' }),
  /** Wait `ms` milliseconds before each retry. */
  fixed: (ms: number): Backoff => ({ kind: 'fixed', ms: duration('fixed', ms) }),
  /** Wait `ms` milliseconds before the first retry, twice that before the second, three times before the third. */
  linear: (ms: number): Backoff => ({ kind: 'linear', ms: duration('linear', ms) }),
  /** Wait `initialMs × factor^retries`, at most `maxMs`, plus at most the fraction `jitter`. */
  exponential: (options: Partial<ExponentialBackoff> = {}): Backoff => {
    const mode = { kind: 'exponential' as const, ...defaults, ...options };
    duration('exponential initialMs', mode.initialMs);
    duration('exponential maxMs', mode.maxMs);
    if (!(Number.isFinite(mode.factor) && mode.factor >= 1)) {
      throw new InvalidOptionsError(`Backoff.exponential: factor must be a number of at least 1, not ${mode.factor}.`);
    }
    if (!(mode.jitter >= 0 && mode.jitter <= 1)) {
      throw new InvalidOptionsError(`Backoff.exponential: jitter must be between 0 and 1, not ${mode.jitter}.`);
    }
    return mode;
  },
};

/**
 * The wait before the next attempt, in whole milliseconds, never negative and never more than ten years.
 *
 * @param retries How many retries came before: 0 after the first failure.
 * @param random A number in [0, 1).
 */
export function backoffMs(backoff: Backoff, retries: number, error: unknown, random: () => number): number {
  const asked = Number(typeof backoff === 'function' ? backoff(retries, error) : modeMs(backoff, retries, random));
  // A function of the user's may return anything; NaN and the like must neither stop the worker nor lose the task.
  const ms = Number.isNaN(asked) ? modeMs({ kind: 'exponential', ...defaults }, retries, random) : asked;
  return Math.round(Math.min(Math.max(ms, 0), longestWaitMs));
}

function modeMs(mode: BackoffMode, retries: number, random: () => number): number {
  switch (mode.kind) {
    case 'none':
      return 0;
    case 'fixed':
      return mode.ms;
    case 'linear':
      return mode.ms * (retries + 1);
    case 'exponential': {
      // Never infinite: an initial wait of zero stays zero after any number of retries.
      const growth = Math.min(mode.factor ** retries, Number.MAX_VALUE);
      return Math.min(mode.initialMs * growth, mode.maxMs) * (1 + mode.jitter * random());
    }
  }
}

function duration(of: string, ms: number): number {
  if (Number.isFinite(ms) && ms >= 0 && ms <= longestWaitMs) return ms;
  throw new InvalidOptionsError(
    `Backoff.${of}: must be a number of milliseconds from 0 to ${longestWaitMs}, not ${String(ms)}.`,
  );
}
