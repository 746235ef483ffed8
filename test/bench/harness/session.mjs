import { setTimeout as delay } from 'node:timers/promises';
import { inflateSync } from 'node:zlib';
import pg from 'pg';
import { variants } from '../adapters/index.mjs';
import { AgentProcess } from './agent-process.mjs';
import { Meter } from './meter.mjs';

/** A task was lost, or ran twice: the measurement is worth nothing, and the whole run fails. */
export class IntegrityError extends Error {}

const stallMs = 60_000;
let databases = 0;

/**
 * One measurement of one queue: an empty database of its own, processes of its own, and at the end the proof that every
 * task ran once.
 */
export class Session {
  /** @type {AgentProcess[]} */
  #agents = [];
  /** @type {Session[]} */
  #others = [];
  /** How often each task has run in the processes that have ended. */
  #runs = new Uint8Array(0);
  /** @type {{ cost: import('./meter.mjs').Cost, transactionsBefore: number }[]} */
  costs = [];

  /**
   * @param {import('./bench.mjs').Bench} bench
   * @param {string} adapter
   */
  constructor(bench, adapter) {
    this.bench = bench;
    this.adapter = adapter;
    this.server = variants[adapter].server;
    this.onPostgres = this.server === 'postgres';
    this.serverPid = this.onPostgres ? bench.postgres.pid : bench.redis?.pid;
    this.database = `bench_${process.pid}_${++databases}`;
    this.url = this.onPostgres ? databaseUrl(bench.postgres.url, this.database) : (bench.redis?.url ?? '');
  }

  async begin() {
    if (!this.onPostgres) return;
    const { admin } = this.bench.postgres;
    await admin.query(`CREATE DATABASE ${this.database}`);
    await admin.query('CHECKPOINT');
  }

  /** Another database of the same queue's, for as long as this session lasts. */
  async another() {
    const other = new Session(this.bench, this.adapter);
    other.costs = this.costs;
    this.#others.push(other);
    await other.begin();
    return other;
  }

  async end() {
    await Promise.all(this.#others.map((other) => other.end()));
    await Promise.all(this.#agents.map((agent) => agent.end()));
    if (this.onPostgres) {
      await this.bench.postgres.admin.query(`DROP DATABASE ${this.database} WITH (FORCE)`);
    } else await this.bench.redis?.client.flushdb();
  }

  /**
   * A new process that holds the adapter.
   *
   * @param {{ load?: boolean, exposeGc?: boolean }} [options]
   */
  async agent({ load = true, exposeGc } = {}) {
    const { node, options } = this.bench;
    const { cpuProf } = options;
    const agent = new AgentProcess({ node, adapter: this.adapter, url: this.url, exposeGc, cpuProf });
    this.#agents.push(agent);
    if (load) await agent.call('load');
    return agent;
  }

  /** A process with the tables created and the producer open. */
  async producer(/** @type {object} */ options) {
    const agent = await this.agent();
    await agent.call('setup');
    await agent.call('open', options);
    return agent;
  }

  /** A process that is ready to start working. */
  async worker(/** @type {object} */ options) {
    const agent = await this.agent();
    await agent.call('open', { ...options, work: true });
    return agent;
  }

  /** Stops an agent and ends its process, so that the server's statistics hold all that it did. */
  async retire(/** @type {AgentProcess} */ agent) {
    await agent.call('stop');
    await agent.end();
  }

  /** What a large load leaves to be done, by vacuum and checkpoint, is done now, and not while the clock runs. */
  async settle() {
    if (!this.onPostgres) return;
    const client = await this.connect();
    try {
      await client.query('VACUUM ANALYZE');
      await client.query('CHECKPOINT');
    } finally {
      await client.end();
    }
  }

  meter(/** @type {AgentProcess[]} */ ...agents) {
    return new Meter(this, agents);
  }

  /** Waits until the agents have ended `count` tasks together; throws when nothing moves any more. */
  async ended(/** @type {AgentProcess[]} */ agents, /** @type {number} */ count) {
    let done = -1;
    let movedAt = Date.now();
    for (;;) {
      const all = await Promise.all(agents.map((agent) => agent.call('progress')));
      const sum = all.reduce((total, progress) => total + progress.done, 0);
      if (sum >= count) {
        const worked = all.filter((progress) => progress.done > 0);
        const from = Math.min(...worked.map((progress) => progress.from));
        const to = Math.max(...worked.map((progress) => progress.lastEnded));
        return { from, to, ms: to - from, done: sum };
      }
      if (sum !== done) movedAt = Date.now();
      else if (Date.now() - movedAt > stallMs) {
        throw new IntegrityError(`${this.adapter}: ${count - sum} of ${count} tasks did not run within ${stallMs} ms`);
      }
      done = sum;
      await delay(50);
    }
  }

  /**
   * When tasks ended, all agents' together, in the order of that.
   *
   * @param {AgentProcess[]} agents
   */
  async endings(agents) {
    const all = await Promise.all(
      agents.map(async (agent) => {
        const bytes = Uint8Array.from(Buffer.from(await agent.call('endings'), 'base64'));
        return new Float64Array(bytes.buffer);
      }),
    );
    return Float64Array.from(all.flatMap((times) => [...times])).sort();
  }

  /**
   * Ends workers, and notes what has run there.
   *
   * @param {AgentProcess[]} workers
   * @param {number} total How many tasks have been enqueued, numbered from 0.
   * @returns {Promise<number>} How many tasks have not run yet in any process.
   */
  async collect(workers, total) {
    const runs = new Uint8Array(total);
    runs.set(this.#runs);
    this.#runs = runs;
    for (const worker of workers) {
      // Stopping lets running tasks end, so it comes before the count.
      await worker.call('stop');
      inflateSync(Buffer.from(await worker.call('runs'), 'base64')).forEach((count, i) => (runs[i] += count));
      await worker.end();
    }
    await this.#addTransactions();
    return runs.reduce((left, count) => left - Math.min(count, 1), total);
  }

  /**
   * The proof: what ran, ran once, and what did not run is still there. Ends the workers.
   *
   * @param {AgentProcess[]} workers Every process that ran tasks and was not collected.
   * @param {number} total How many tasks were enqueued, numbered from 0.
   */
  async verify(workers, total) {
    const ran = total - (await this.collect(workers, total));
    const runs = this.#runs;
    // Another process counts what is left.
    const counter = await this.agent();
    await counter.call('open', { total: 0 });
    const unfinished = await counter.call('unfinished');
    await this.retire(counter);
    const doubled = runs.reduce((sum, count) => sum + Math.max(count - 1, 0), 0);
    const lost = total - ran - unfinished;
    if (doubled || lost) {
      throw new IntegrityError(
        `${this.adapter}: of ${total} tasks ${ran} ran and ${unfinished} are unfinished: ${lost} lost, ${doubled} doubled`,
      );
    }
  }

  /** A connection of the runner's own to the session's database. */
  async connect() {
    const client = new pg.Client({ connectionString: this.url });
    client.on('error', () => {});
    await client.connect();
    return client;
  }

  async walBytes() {
    if (!this.onPostgres) return undefined;
    const sql = `SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS bytes`;
    return Number((await this.bench.postgres.admin.query(sql)).rows[0].bytes);
  }

  /** Transactions in the session's database, or commands for Redis. */
  async transactions() {
    if (!this.onPostgres) {
      const info = await this.bench.redis?.client.info('stats');
      return Number(/total_commands_processed:(\d+)/.exec(info ?? '')?.[1]);
    }
    const sql = 'SELECT xact_commit + xact_rollback AS n FROM pg_stat_database WHERE datname = $1';
    return Number((await this.bench.postgres.admin.query(sql, [this.database])).rows[0]?.n ?? 0);
  }

  /** The same, once all connections have ended: only then the server has counted everything for sure. */
  async settledTransactions() {
    const { admin } = this.bench.postgres;
    const sql = 'SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = $1';
    for (let tries = 0; tries < 100; tries++) {
      if (!this.onPostgres || (await admin.query(sql, [this.database])).rows[0].n === 0) break;
      await delay(20);
    }
    return this.transactions();
  }

  async #addTransactions() {
    if (!this.onPostgres) return;
    const total = await this.settledTransactions();
    for (const { cost, transactionsBefore } of this.costs) cost.transactions ??= total - transactionsBefore;
  }
}

/** @param {string} url @param {string} database */
function databaseUrl(url, database) {
  const parsed = new URL(url);
  parsed.pathname = `/${database}`;
  return parsed.href;
}
