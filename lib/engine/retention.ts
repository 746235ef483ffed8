import { longestWaitMs } from './backoff.js';
import type { FinishedState } from './task.js';

/** Which finished tasks stay in the database, for ever. */
export const RetentionMode = {
  /** Every finished task stays. */
  keepAll: 'keepAll',
  /** No finished task stays. */
  removeAll: 'removeAll',
  /** Done tasks go; failed and cancelled ones stay. The default. */
  removeDone: 'removeDone',
} as const;
export type RetentionMode = (typeof RetentionMode)[keyof typeof RetentionMode];

/** How long a finished task stays: so many milliseconds from its end, not at all, or for ever. */
export type RetentionTime = number | 'none' | 'forever';

/** How long finished tasks stay, by their state. What is left out is as in `'removeDone'`. */
export interface RetentionTimes {
  /** @default 'none' */
  readonly done?: RetentionTime | undefined;
  /** @default 'forever' */
  readonly failed?: RetentionTime | undefined;
  /** @default 'forever' */
  readonly cancelled?: RetentionTime | undefined;
}

/** Which finished tasks stay in the database, and how long. */
export type Retention = RetentionMode | RetentionTimes;

/** Ten years, in milliseconds: whoever keeps tasks longer keeps them for ever. */
export const longestRetentionMs = longestWaitMs;

/** For how long a task with `keepResult` stays where its queue keeps none: a day. */
export const resultStaysMs = 86_400_000;

const byMode: Readonly<Record<RetentionMode, Readonly<Record<FinishedState, RetentionTime>>>> = {
  keepAll: { done: 'forever', failed: 'forever', cancelled: 'forever' },
  removeAll: { done: 'none', failed: 'none', cancelled: 'none' },
  removeDone: { done: 'none', failed: 'forever', cancelled: 'forever' },
};

/** How many milliseconds a task stays that ends in `state`: null when it does not stay, Infinity for ever. */
export function keepMs(retention: Retention, state: FinishedState): number | null {
  const time =
    typeof retention === 'string' ? byMode[retention][state] : (retention[state] ?? byMode.removeDone[state]);
  if (time === 'none') return null;
  return time === 'forever' ? Infinity : time;
}

/** For how many milliseconds tasks stay that neither go at once nor stay for ever, shortest first. */
export function finiteKeepMs(retentions: readonly Retention[]): number[] {
  const states: readonly FinishedState[] = ['done', 'failed', 'cancelled'];
  const times = retentions.flatMap((retention) => states.map((state) => keepMs(retention, state)));
  const finite = times.filter((time): time is number => time !== null && time !== Infinity);
  return [...new Set(finite)].toSorted((a, b) => a - b);
}
