import { longestRetentionMs, RetentionMode } from '../engine/retention.js';
import { type Check, checkOptions, milliseconds, object, oneOf } from './checks.js';

const modes = Object.values(RetentionMode);
const mode = oneOf(...modes);
const word = oneOf('none', 'forever');
const duration = milliseconds(1, longestRetentionMs);

const time: Check = (value) =>
  word(value) === undefined || duration(value) === undefined ? undefined : `${duration(null)}, "none" or "forever"`;

const times: Record<string, Check> = { done: time, failed: time, cancelled: time };

/** Whether the value is a retention by its shape; what stands in an object is for `checkRetention`. */
export const retention: Check = (value) =>
  mode(value) === undefined || (object(value) === undefined && !Array.isArray(value))
    ? undefined
    : `${mode(null)}, or an object { done, failed, cancelled }`;

/** @throws InvalidOptionsError for a state that does not exist, or a time that is none. */
export function checkRetention(where: string, value: unknown): void {
  if (typeof value === 'object') checkOptions(`${where}, retention`, value, times);
}
