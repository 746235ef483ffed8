import enqueueOne from './enqueue-one.mjs';
import enqueueMany from './enqueue-many.mjs';
import drain from './drain.mjs';
import latency from './latency.mjs';
import backlog from './backlog.mjs';
import processes from './processes.mjs';
import idle from './idle.mjs';
import growth from './growth.mjs';
import snapshot from './snapshot.mjs';
import busySlots from './busy-slots.mjs';
import statistics from './statistics.mjs';
import footprint from './footprint.mjs';

/**
 * @typedef {object} Row
 * @property {string} id
 * @property {string} title
 * @property {string} unit
 *
 * @typedef {object} Case One measurement: all that is known at once gives one row or more.
 * @property {string} id
 * @property {Row[]} rows
 * @property {string[]} [without] Queues that it is not made for.
 *
 * @typedef {object} Workload
 * @property {string} id
 * @property {string} about
 * @property {string[]} adapters
 * @property {string} [repeats] Its values are those of so many measurements.
 * @property {boolean} [once] Takes long and scatters little, or repeats itself: measured once, whatever `--reps` says.
 * @property {number} [times] Is quick and scatters: so many measurements for each repetition that `--reps` asks for.
 * @property {(options: { quick: boolean, scale: number }) => Case[]} cases
 * @property {(session: import('../harness/session.mjs').Session, testCase: any) => Promise<Record<string, number | number[]>>}
 *   measure The values of the case's rows.
 */

/** @type {Workload[]} */
export const workloads = [
  enqueueOne,
  enqueueMany,
  drain,
  // Beside what it is compared with, since a machine's speed changes by the minute.
  statistics,
  latency,
  backlog,
  processes,
  idle,
  growth,
  snapshot,
  busySlots,
  footprint,
];

/** What `--quick` measures. */
export const quickWorkloads = ['W1', 'W2', 'W3', 'W4'];
