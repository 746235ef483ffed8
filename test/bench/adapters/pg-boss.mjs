/**
 * pg-boss. As installed it takes one job every two seconds, so what stands for concurrency here is its batch, fetched
 * again without delay while batches come back full, as its documentation advises for a backlog.
 */
import pg from 'pg';
import { PgBoss } from 'pg-boss';

const queue = 'noop';

/**
 * @param {import('./index.mjs').Place} place
 * @param {{ batchSize: number, notify?: boolean }} settings
 * @returns {import('./index.mjs').Adapter}
 */
export function create({ url }, { batchSize, notify = false }) {
  const boss = new PgBoss({ connectionString: url, useListenNotify: notify });
  boss.on('error', (error) => console.error(error));
  let workOptions = { batchSize, burstWhenBatchFull: true };
  /** @type {(payload: import('./index.mjs').Payload) => Promise<void>} */
  let handle;

  return {
    async setup() {
      const installer = new PgBoss({ connectionString: url });
      await installer.start();
      await installer.createQueue(queue, { notify });
      await installer.stop();
    },
    async open({ handler, concurrency }) {
      handle = handler;
      // One batch of all slots did better than several smaller ones by `localConcurrency`: its fetch is what costs.
      if (concurrency) workOptions = { ...workOptions, batchSize: concurrency };
      await boss.start();
    },
    enqueueOne: (payload) => boss.send(queue, payload),
    enqueueMany: (payloads, { delayMs }) => {
      const startAfter = delayMs ? new Date(Date.now() + delayMs) : undefined;
      return boss.insert(
        queue,
        payloads.map((data) => (startAfter ? { data, startAfter } : { data })),
      );
    },
    async start() {
      await boss.work(queue, workOptions, async (jobs) => {
        await Promise.all(jobs.map((job) => handle(job.data)));
      });
    },
    stop: () => boss.stop({ graceful: true, timeout: 30_000 }),
    async unfinished() {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      const { rows } = await client.query(`SELECT count(*)::int AS n FROM pgboss.job WHERE state <> 'completed'`);
      await client.end();
      return rows[0].n;
    },
  };
}
