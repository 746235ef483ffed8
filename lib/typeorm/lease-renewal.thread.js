/**
 * Renews one worker's lease from a thread with a connection of its own, so that a handler that blocks the main thread's
 * event loop does not lose the lease. JavaScript, so that the same file runs from the sources and from the build.
 *
 * Shared memory, in nanoseconds of the process's monotonic clock: [0] until when the lease is known to last, written
 * here; [1] until when the main thread wants it renewed, written there.
 */
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';

/**
 * @typedef {object} RenewalData
 * @property {import('pg').ClientConfig} connection
 * @property {string} sql
 * @property {string} workerId
 * @property {number} leaseMs
 * @property {number} heartbeatMs
 * @property {number} firstInMs When the first renewal is due.
 * @property {SharedArrayBuffer} clocks
 */

const { connection, sql, workerId, leaseMs, heartbeatMs, firstInMs, clocks } = /** @type {RenewalData} */ (workerData);
const [lastsUntil, wantedUntil] = [0, 1];
const shared = new BigInt64Array(clocks);
const retryMs = Math.min(1_000, heartbeatMs / 4);

let stopped = false;
/** @type {import('pg').Client | undefined} */
let client;

async function connected() {
  if (client) return client;
  // Not before: most threads end without a renewal, and it costs as much to load as the thread itself.
  // Nor by `import`, which would remember a failure for good.
  const pg = /** @type {typeof import('pg')} */ (createRequire(import.meta.url)('pg'));
  const fresh = new pg.Client({
    ...connection,
    connectionTimeoutMillis: heartbeatMs,
    query_timeout: Math.min(heartbeatMs, 5_000),
  });
  fresh.on('error', () => drop(fresh));
  fresh.on('end', () => drop(fresh));
  await fresh.connect();
  if (stopped) {
    drop(fresh);
    throw new Error('The lease has been given up.');
  }
  client = fresh;
  return fresh;
}

/** @param {import('pg').Client | undefined} broken */
function drop(broken) {
  if (client === broken) client = undefined;
  broken?.end().catch(() => {});
}

/** @returns {Promise<number>} Milliseconds until the next renewal; 0 when there will be none. */
async function renew() {
  const sentAt = process.hrtime.bigint();
  if (sentAt > Atomics.load(shared, wantedUntil)) return heartbeatMs;
  const current = client;
  try {
    const connection = await connected();
    const { rowCount } = await connection.query(sql, [workerId, leaseMs]);
    if (rowCount === 0) {
      parentPort?.postMessage({ kind: 'lost' });
      drop(client);
      return 0;
    }
    // From before it was sent: the database counts from when it was received.
    Atomics.store(shared, lastsUntil, sentAt + BigInt(Math.round(leaseMs * 1e6)));
    return heartbeatMs;
  } catch (error) {
    if (stopped) return 0;
    drop(client ?? current);
    parentPort?.postMessage({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
    return retryMs;
  }
}

/** @type {NodeJS.Timeout | undefined} */
let timer;

/** @param {number} ms */
function renewIn(ms) {
  if (ms > 0 && !stopped) timer = setTimeout(() => void renew().then(renewIn), ms);
}

// With its port closed, its timer cleared and its connection ended, nothing keeps the thread alive.
parentPort?.once('message', () => {
  stopped = true;
  clearTimeout(timer);
  parentPort?.close();
  drop(client);
});
renewIn(Math.max(1, firstInMs));
