/**
 * The queues that are measured, and how each is set up. One factory a queue; a variant differs by its settings only.
 *
 * @typedef {object} Payload
 * @property {number} i Which task it is: every run counts how often it saw each.
 *
 * @typedef {object} OpenOptions
 * @property {(payload: Payload) => Promise<void>} handler What a task does.
 * @property {boolean} work Whether `start()` will follow; a producer alone opens only what enqueueing needs.
 * @property {number} [concurrency] In place of the variant's own.
 *
 * @typedef {object} Adapter What every queue can do, each method called in a process of its own.
 * @property {() => Promise<void>} setup Creates the tables.
 * @property {(options: OpenOptions) => Promise<void>} open Connects, but works on nothing yet.
 * @property {(payload: Payload) => Promise<unknown>} enqueueOne
 * @property {(payloads: Payload[], options: { delayMs?: number }) => Promise<unknown>} enqueueMany All in one call.
 * @property {() => Promise<void>} start Begins to work.
 * @property {() => Promise<void>} stop Finishes what runs and disconnects.
 * @property {() => Promise<number>} unfinished How many tasks wait, run or have failed. Called between open and stop.
 *
 * @typedef {object} Place Where a queue lives.
 * @property {string} url Of an empty PostgreSQL database or of an empty Redis database.
 *
 * @typedef {object} Variant
 * @property {string} title The column's head.
 * @property {'postgres' | 'redis'} server
 * @property {string} module
 * @property {Record<string, unknown>} settings
 * @property {string} how The settings in words.
 */

/** @type {Record<string, Variant>} */
export const variants = {
  backie: {
    title: 'nestjs-backie',
    server: 'postgres',
    module: './backie.mjs',
    settings: {},
    how: 'BackieModule.forRoot({ connection }), nothing else',
  },
  'backie-keepall': {
    title: 'nestjs-backie keepAll',
    server: 'postgres',
    module: './backie.mjs',
    settings: { defaults: { retention: 'keepAll' } },
    how: "defaults: { retention: 'keepAll' }",
  },
  'backie-beside': {
    title: 'nestjs-backie beside',
    server: 'postgres',
    module: './backie.mjs',
    settings: { library: 'nestjs-backie-beside' },
    how: 'the checkout of --beside, in the same way',
  },
  graphile: {
    title: 'graphile-worker',
    server: 'postgres',
    module: './graphile.mjs',
    settings: { concurrency: 10 },
    how: 'concurrentJobs 10, else as installed; logging off',
  },
  'graphile-tuned': {
    title: 'graphile-worker tuned',
    server: 'postgres',
    module: './graphile.mjs',
    settings: {
      concurrency: 24,
      worker: { maxPoolSize: 25, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
    },
    how: 'its performance page: concurrentJobs 24, maxPoolSize 25, localQueue 500, batch delays 0; logging off',
  },
  pgboss: {
    title: 'pg-boss',
    server: 'postgres',
    module: './pg-boss.mjs',
    settings: { batchSize: 10 },
    how: 'batchSize 10 (in place of concurrency), burstWhenBatchFull, else as installed',
  },
  'pgboss-tuned': {
    title: 'pg-boss tuned',
    server: 'postgres',
    module: './pg-boss.mjs',
    settings: { batchSize: 1000, notify: true },
    how: 'batchSize 1,000, burstWhenBatchFull, LISTEN/NOTIFY on',
  },
  'bullmq-pg': {
    title: 'BullMQ on PostgreSQL',
    server: 'postgres',
    module: './bullmq.mjs',
    settings: { backend: 'postgres', concurrency: 10 },
    how: 'concurrency 10, removeOnComplete, else as installed',
  },
  'bullmq-pg-tuned': {
    title: 'BullMQ on PostgreSQL tuned',
    server: 'postgres',
    module: './bullmq.mjs',
    settings: { backend: 'postgres', concurrency: 24, max: 25 },
    how: 'concurrency 24, pool 25, removeOnComplete',
  },
  'bullmq-redis': {
    title: 'BullMQ on Redis',
    server: 'redis',
    module: './bullmq.mjs',
    settings: { backend: 'redis', concurrency: 10 },
    how: 'concurrency 10, removeOnComplete, else as installed',
  },
  'bullmq-redis-tuned': {
    title: 'BullMQ on Redis tuned',
    server: 'redis',
    module: './bullmq.mjs',
    settings: { backend: 'redis', concurrency: 100 },
    how: 'concurrency 100, removeOnComplete',
  },
  ceiling: {
    title: 'ceiling',
    server: 'postgres',
    module: './ceiling.mjs',
    settings: { concurrency: 500 },
    how: 'minimal SQL by hand: no fence, no lease, no retry, no history',
  },
};

/** The best settings of every queue; nestjs-backie has none but its defaults. */
export const tuned = ['backie', 'graphile-tuned', 'pgboss-tuned', 'bullmq-pg-tuned', 'bullmq-redis-tuned', 'ceiling'];

/**
 * @param {string} name
 * @param {Place} place
 * @returns {Promise<Adapter>}
 */
export async function loadAdapter(name, place) {
  const { module, settings } = variants[name];
  const { create } = await import(module);
  return create(place, settings);
}
