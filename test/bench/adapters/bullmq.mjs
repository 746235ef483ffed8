/** BullMQ, on PostgreSQL or on Redis. Finished jobs are removed, as nestjs-backie does by default. */
import { createPostgresBackend, Queue, runMigrations, Worker } from 'bullmq';
import pg from 'pg';

const name = 'noop';
const kept = { removeOnComplete: true, removeOnFail: false };

/**
 * @param {import('./index.mjs').Place} place
 * @param {{ backend: 'postgres' | 'redis', concurrency: number, max?: number }} settings
 * @returns {import('./index.mjs').Adapter}
 */
export function create({ url }, settings) {
  const onPostgres = settings.backend === 'postgres';
  const connection = onPostgres ? { connectionString: url, max: settings.max } : redisOptions(url);
  const factories = onPostgres ? [createPostgresBackend] : [];
  /** @type {Queue} */
  let queue;
  /** @type {Worker} Of a worker only. */
  let worker;

  return {
    async setup() {
      if (!onPostgres) return;
      const pool = new pg.Pool({ connectionString: url });
      const client = await pool.connect();
      await runMigrations(client);
      client.release();
      await pool.end();
    },
    async open({ handler, work, concurrency = settings.concurrency }) {
      queue = new Queue(name, { connection, defaultJobOptions: kept }, ...factories);
      queue.on('error', (error) => console.error(error));
      await queue.waitUntilReady();
      if (!work) return;
      const options = { connection, concurrency, autorun: false };
      worker = new Worker(name, (job) => handler(job.data), options, ...factories);
      worker.on('error', (error) => console.error(error));
      await worker.waitUntilReady();
    },
    enqueueOne: (payload) => queue.add(name, payload),
    enqueueMany: (payloads, { delayMs }) =>
      queue.addBulk(payloads.map((data) => (delayMs ? { name, data, opts: { delay: delayMs } } : { name, data }))),
    async start() {
      worker?.run().catch((error) => console.error(error));
    },
    async stop() {
      await worker?.close();
      await queue.close();
    },
    async unfinished() {
      const counts = await queue.getJobCounts('waiting', 'active', 'delayed', 'prioritized', 'failed');
      return Object.values(counts).reduce((sum, count) => sum + count, 0);
    },
  };
}

/** @param {string} url */
function redisOptions(url) {
  const { hostname, port, password, pathname } = new URL(url);
  return {
    host: hostname,
    port: Number(port || 6379),
    password: decodeURIComponent(password) || undefined,
    db: Number(pathname.slice(1) || 0),
    maxRetriesPerRequest: null,
  };
}
