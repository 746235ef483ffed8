import { maxTimerMs } from './delay.js';

/**
 * Spreads what processes do that started together, so that they do not do it in chorus.
 *
 * @param spread By how much of `ms` it may be less or more.
 */
export function jittered(ms: number, spread = 0.25): number {
  return Math.min(ms * (1 - spread + Math.random() * 2 * spread), maxTimerMs);
}
