import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { Redis } from 'ioredis';

const debianPostgres = '/usr/lib/postgresql/15/bin';
const debianRedis = '/usr/bin/redis-server';

/** Durable, and with checkpoints kept out of the measurements. */
const settings = {
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  max_connections: '300',
  shared_buffers: '512MB',
  max_wal_size: '8GB',
  checkpoint_timeout: '30min',
};

/**
 * The PostgreSQL of `url`, else one started for this run.
 *
 * @param {{ url?: string, pgBin?: string, statements: boolean }} options
 */
export async function startPostgres({ url, pgBin, statements }) {
  const binDir = pgBin ?? (existsSync(join(debianPostgres, 'initdb')) ? debianPostgres : undefined);
  let stop = async () => {};
  if (!url) {
    const { startEmbeddedPostgres } = await import('nestjs-backie/embedded');
    const server = await startEmbeddedPostgres({
      settings: { ...settings, ...(statements && { shared_preload_libraries: 'pg_stat_statements' }) },
      ...(binDir && { binDir }),
    });
    url = server.url;
    stop = () => server.stop();
  }
  const admin = new pg.Client({ connectionString: url });
  await admin.connect();
  const one = async (/** @type {string} */ sql) => Object.values((await admin.query(sql)).rows[0])[0];
  const version = await one('SHOW server_version');
  const durable = (await one('SHOW fsync')) === 'on' && (await one('SHOW synchronous_commit')) === 'on';
  return {
    url,
    admin,
    description: `PostgreSQL ${version}${durable ? ', fsync and synchronous_commit on' : ', NOT durable'}`,
    pid: parentOf(await one('SELECT pg_backend_pid()')),
    async stop() {
      await admin.end();
      await stop();
    },
  };
}

/** The postmaster, if the server runs on this machine. */
function parentOf(/** @type {number} */ pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    if (!stat.includes('(postgres)')) return undefined;
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}

/**
 * The Redis of `url`, else one started from `bin`, else the one that answers on the usual port, else one started from
 * where Debian installs it; undefined when there is none. One that we start persists nothing: as fast as it can be.
 *
 * @param {{ url?: string, bin?: string }} options
 */
export async function startRedis({ url, bin }) {
  if (url) return connectRedis(url);
  if (bin) return spawnRedis(bin);
  const usual = await connectRedis('redis://127.0.0.1:6379/9').catch(() => undefined);
  if (usual) return usual;
  return existsSync(debianRedis) ? spawnRedis(debianRedis) : undefined;
}

async function connectRedis(/** @type {string} */ url) {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null });
  client.on('error', () => {});
  await client.connect();
  if ((await client.dbsize()) > 0) {
    client.disconnect();
    throw new Error(`The Redis database of ${url} is not empty: it would be flushed. Name another one in REDIS_URL.`);
  }
  const info = await client.info('server');
  const field = (/** @type {string} */ name) => new RegExp(`^${name}:(.*)$`, 'm').exec(info)?.[1].trim();
  return {
    url,
    client,
    description: `Redis ${field('redis_version')}`,
    pid: redisProcess(Number(field('process_id'))),
    stop: async () => client.disconnect(),
  };
}

/** Undefined for one of another machine, or of a container, whose number means another process here. */
function redisProcess(/** @type {number} */ pid) {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('redis') ? pid : undefined;
  } catch {
    return undefined;
  }
}

async function spawnRedis(/** @type {string} */ bin) {
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'backie-bench-redis-'));
  const args = ['--port', port, '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'no'].map(String);
  const child = spawn(bin, args, { stdio: 'ignore' });
  const failed = new Promise((_, reject) => child.once('error', reject));
  process.once('exit', () => child.kill());
  for (let tries = 1; ; tries++) {
    try {
      const server = await Promise.race([connectRedis(`redis://127.0.0.1:${port}/0`), failed]);
      const stop = async () => {
        await server.stop();
        child.kill();
        await new Promise((resolve) => child.once('exit', resolve));
        rmSync(dir, { recursive: true, force: true });
      };
      return { ...server, description: `${server.description}, persistence off`, stop };
    } catch (error) {
      if (tries === 50) throw error;
      await delay(100);
    }
  }
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });
}
