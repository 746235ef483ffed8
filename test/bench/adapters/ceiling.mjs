/**
 * What PostgreSQL gives to whoever writes the least: one table, calls that share statements, batches on both sides, a
 * notification a statement. It promises nothing else: no fence, no lease, no retry, so it is a ceiling and no queue.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';

const insert = {
  name: 'insert',
  text: `WITH stored AS (
           INSERT INTO job (run_at, payload)
           SELECT now() + make_interval(secs => $2), e FROM jsonb_array_elements($1::jsonb) e RETURNING 1
         )
         SELECT pg_notify('job', '') FROM (SELECT FROM stored LIMIT 1) one`,
};
const claim = {
  name: 'claim',
  text: `WITH due AS MATERIALIZED (
           SELECT id FROM job WHERE NOT taken AND run_at <= now()
           ORDER BY run_at, id LIMIT $1 FOR UPDATE SKIP LOCKED
         )
         UPDATE job SET taken = true WHERE id = ANY(ARRAY(SELECT id FROM due)) RETURNING id, payload`,
};
const remove = { name: 'remove', text: 'DELETE FROM job WHERE id = ANY($1::bigint[])' };

/**
 * @param {import('./index.mjs').Place} place
 * @param {{ concurrency: number }} settings
 * @returns {import('./index.mjs').Adapter}
 */
export function create({ url }, settings) {
  const pool = new pg.Pool({ connectionString: url, max: 4 });
  /** @type {pg.Client | undefined} */
  let listener;
  let limit = settings.concurrency;
  let handle = async (/** @type {import('./index.mjs').Payload} */ _payload) => {};
  const stopped = new AbortController();
  let wake = () => {};
  let heard = false;
  /** @type {Promise<void> | undefined} */
  let loop;

  const store = (/** @type {unknown[]} */ payloads, delayMs = 0) =>
    pool.query(insert, [JSON.stringify(payloads), delayMs / 1000]);

  /** Calls that come while a statement is under way share the next one. */
  /** @type {{ payload: unknown, resolve: (value?: unknown) => void, reject: (error: unknown) => void }[]} */
  let waiting = [];
  let underWay = 0;
  async function flush() {
    while (waiting.length > 0 && underWay < 2) {
      const batch = waiting.splice(0, 1000);
      underWay++;
      await store(batch.map(({ payload }) => payload)).then(
        () => batch.forEach(({ resolve }) => resolve()),
        (error) => batch.forEach(({ reject }) => reject(error)),
      );
      underWay--;
    }
  }

  async function work() {
    const settling = new Set();
    let free = limit;
    while (!stopped.signal.aborted) {
      heard = false;
      const { rows } = await pool.query(claim, [free]);
      if (rows.length > 0) {
        free -= rows.length;
        const settled = Promise.all(rows.map((row) => handle(row.payload)))
          .then(() => {
            free += rows.length;
            wake();
            return pool.query(remove, [rows.map((row) => row.id)]);
          })
          .finally(() => settling.delete(settled));
        settling.add(settled);
        if (settling.size > 16) await Promise.race(settling);
      }
      await new Promise((resolve) => setImmediate(resolve));
      if (free <= 0 || (rows.length === 0 && !heard)) await sleep();
    }
    await Promise.all(settling);
  }

  async function sleep() {
    const awake = new Promise((resolve) => {
      wake = () => resolve(undefined);
    });
    const timer = new AbortController();
    await Promise.race([awake, delay(1000, undefined, { signal: timer.signal }).catch(() => {})]);
    timer.abort();
    wake = () => {};
  }

  return {
    async setup() {
      await pool.query(`
        CREATE TABLE IF NOT EXISTS job (
          id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run_at timestamptz NOT NULL,
          taken boolean NOT NULL DEFAULT false, payload jsonb NOT NULL
        ) WITH (autovacuum_vacuum_scale_factor = 0.01);
        CREATE INDEX IF NOT EXISTS job_due ON job (run_at, id) WHERE NOT taken`);
    },
    async open({ handler, work, concurrency }) {
      handle = handler;
      limit = concurrency ?? limit;
      await pool.query('SELECT');
      if (!work) return;
      listener = new pg.Client({ connectionString: url });
      await listener.connect();
      listener.on('notification', () => {
        heard = true;
        wake();
      });
      await listener.query('LISTEN job');
    },
    enqueueOne: (payload) =>
      new Promise((resolve, reject) => {
        waiting.push({ payload, resolve, reject });
        if (waiting.length === 1) queueMicrotask(() => void flush());
      }),
    enqueueMany: (payloads, { delayMs }) => store(payloads, delayMs),
    async start() {
      loop = work();
    },
    async stop() {
      stopped.abort();
      wake();
      await loop;
      await listener?.end();
      await pool.end();
    },
    async unfinished() {
      const { rows } = await pool.query('SELECT count(*)::int AS n FROM job');
      return rows[0].n;
    },
  };
}
