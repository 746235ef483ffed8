import { setTimeout as delay } from 'node:timers/promises';
import { AppProcess } from './app.process.js';
import type { AppSettings, Load, Work } from './app.protocol.js';
import type { Guardian } from './guardian.js';
import type { LedgerReader } from './ledger.js';
import { until } from './polling.js';
import type { PostgresServer } from './postgres.server.js';
import { WireProxy } from './wire.proxy.js';
import { WorkerKeeper } from './worker.keeper.js';

/** What all faults share. */
export interface Premises {
  readonly guardian: Guardian;
  readonly server: PostgresServer;
  readonly ledger: LedgerReader;
  readonly leaseMs: number;
  /** Multiplies the number of tasks and of troubles, and how long a load lasts: less than 1 for a short look. */
  readonly scale: number;
  readonly progress: (line: string) => void;
}

/** What the verdict expects unless a fault says otherwise. */
export interface Expectations {
  /** States in which a task may end. */
  states: readonly string[];
  /** At most so many executions more than tasks, if there is a limit. */
  duplicates?: number;
  /** At most so many of these that were cut off before their end: those that ran when their process died. */
  cutOff?: number;
  /** How many connections stay when all processes have ended: those of a pooler. */
  leftConnections: number;
  /** How many connections more than usual a process that works may keep: those of its transactional tasks. */
  transactionConnections: number;
}

export const role = 'app';
const quickWorks: readonly Work[] = [1, 5, 20, 2, 10].map((ms) => ({ do: 'wait', ms }));

/** A database, the network before it, the applications on it, and the load, for one fault. */
export class Harness {
  readonly apps: AppProcess[] = [];
  readonly expected: Expectations = { states: ['done'], leftConnections: 0, transactionConnections: 0 };
  /** What was found to be wrong. */
  readonly failures: string[] = [];
  readonly notes: string[] = [];
  readonly leaseMs: number;
  proxy!: WireProxy;
  /** Resolves when the load is enqueued. */
  loaded: Promise<unknown> = Promise.resolve();
  /** When, by performance.now(), the load is to be over. */
  loadEndsAt = 0;
  private readonly proxies: WireProxy[] = [];
  private readonly keepers: WorkerKeeper[] = [];
  private readonly cleanUps: (() => Promise<unknown>)[] = [];
  private appsStarted = 0;

  static async open(premises: Premises, name: string): Promise<Harness> {
    const harness = new Harness(premises, `f_${name.replaceAll('-', '_')}`);
    const { server, ledger } = premises;
    await server.sql(`DROP DATABASE IF EXISTS ${harness.database} WITH (FORCE)`);
    await server.sql(`DO $$ BEGIN CREATE ROLE ${role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$`);
    await server.sql(`ALTER ROLE ${role} RESET ALL`);
    await server.sql(`CREATE DATABASE ${harness.database} OWNER ${role}`);
    await ledger.clear();
    harness.proxy = await WireProxy.start(() => server.port);
    return harness;
  }

  private constructor(
    readonly premises: Premises,
    readonly database: string,
  ) {
    this.leaseMs = premises.leaseMs;
  }

  get server(): PostgresServer {
    return this.premises.server;
  }

  get ledger(): LedgerReader {
    return this.premises.ledger;
  }

  /** The living processes that work. */
  get workers(): AppProcess[] {
    return this.apps.filter(({ alive, isReady, settings }) => alive && isReady && settings.workers);
  }

  get acknowledged(): string[] {
    return this.apps.flatMap((app) => app.acknowledged);
  }

  /** Where applications find the database: behind the proxy. */
  get url(): string {
    return this.urlThrough(this.proxy);
  }

  /** Starts an application without waiting until it is ready. */
  spawn(settings: Partial<AppSettings> = {}): AppProcess {
    const name = `${settings.workers === false ? 'producer' : 'worker'}-${++this.appsStarted}`;
    const app = new AppProcess(this.premises.guardian, {
      name,
      databaseUrl: this.url,
      ledgerUrl: this.ledger.url,
      workers: true,
      concurrency: 10,
      leaseMs: this.leaseMs,
      shutdownGraceMs: 3_000,
      pollIntervalMs: 500,
      // Faults kill what runs by chance: a task must not be quarantined for its neighbours.
      maxCrashes: 1_000,
      connectTimeoutMs: 30_000,
      bootMs: 0,
      apps: 1,
      ...settings,
    });
    this.apps.push(app);
    return app;
  }

  /** Starts worker processes and waits until all work. */
  async startWorkers(count = 4, settings: Partial<AppSettings> = {}): Promise<AppProcess[]> {
    const apps = Array.from({ length: count }, () => this.spawn(settings));
    await Promise.all(apps.map((app) => app.ready));
    return apps;
  }

  /** Lets a process that only enqueues begin. The load goes on while the fault acts; `loaded` tells when it is over. */
  async load(load: Partial<Load> = {}, through?: AppProcess): Promise<AppProcess> {
    const producer = through ?? this.spawn({ workers: false });
    await producer.ready;
    const whole = { tasks: this.usualTasks, works: quickWorks, ...load, overMs: this.scaled(load.overMs ?? 5_000) };
    this.loadEndsAt = performance.now() + whole.overMs;
    this.loaded = Promise.all([this.loaded, producer.load(whole)]);
    return producer;
  }

  get usualTasks(): number {
    return this.scaled(2_000);
  }

  scaled(count: number): number {
    return Math.round(count * this.premises.scale);
  }

  /** Four processes and the usual load: what most faults begin with. */
  async begin(load: Partial<Load> = {}, settings: Partial<AppSettings> = {}): Promise<AppProcess[]> {
    const workers = await this.startWorkers(4, settings);
    await this.load(load);
    await this.executions(20);
    return workers;
  }

  /** Waits until this many executions have started. */
  async executions(count: number, withinMs = 30_000): Promise<void> {
    await until(
      `${count} executions`,
      () => this.ledger.count(),
      (seen) => seen >= count,
      withinMs,
    );
  }

  /** A worker process that is at work; waits for one if need be. */
  async anyWorker(): Promise<AppProcess> {
    const workers = await until(
      'a worker',
      () => this.workers,
      ({ length }) => length > 0,
    );
    return workers[0];
  }

  /** Ends all sessions of the applications, or those that are alike; the condition is one on pg_stat_activity. */
  async terminateBackends(where = 'true', values: unknown[] = []): Promise<number> {
    const rows = await this.sql(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND usename = '${role}' AND (${where})`,
      values,
    );
    return rows.length;
  }

  /** Another way to the server, for some of the applications. */
  async anotherProxy(upstream = () => this.server.port): Promise<WireProxy> {
    const proxy = await WireProxy.start(upstream);
    this.proxies.push(proxy);
    return proxy;
  }

  urlThrough(proxy: WireProxy): string {
    return this.server.url(this.database, role, proxy.port);
  }

  /** Lets dead workers come back, at most until the fault has been judged; they may die by themselves from now on. */
  keepWorkers(count: number, settings: Partial<AppSettings> = {}): WorkerKeeper {
    const keeper = new WorkerKeeper(this, count, settings);
    this.keepers.push(keeper);
    return keeper;
  }

  /** One statement in the faulty database as superuser, past the proxy. */
  sql<Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> {
    return this.server.sql<Row>(text, values, this.database);
  }

  /** Begins a new account, for a run that checks several times. */
  async forget(): Promise<void> {
    await this.sql('TRUNCATE backie.finished_task');
    await this.ledger.clear();
    for (const app of this.apps) app.acknowledged.length = 0;
  }

  /** How many leases were lost by processes that lived on. */
  get leasesLost(): number {
    return this.apps.reduce((sum, app) => sum + app.leasesLost, 0);
  }

  /** How many tasks are live. */
  async live(where = 'true'): Promise<number> {
    const [row] = await this.sql<{ count: string }>(`SELECT count(*) FROM backie.task WHERE ${where}`);
    return Number(row.count);
  }

  /** How many connections the applications have. */
  async connections(): Promise<number> {
    const [row] = await this.sql<{ count: string }>(
      `SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND usename = $2`,
      [this.database, role],
    );
    return Number(row.count);
  }

  /** Lets the trouble last. */
  async last(ms: number): Promise<void> {
    await delay(ms);
  }

  progress(line: string): void {
    this.premises.progress(line);
  }

  note(text: string): void {
    this.notes.push(text);
  }

  /** Writes down what must hold and does not. */
  expect(holds: boolean, otherwise: string): void {
    if (!holds) this.failures.push(otherwise);
  }

  /** Called when the fault has been judged, whatever came of it. */
  finally(cleanUp: () => Promise<unknown>): void {
    this.cleanUps.push(cleanUp);
  }

  /** Ends what still runs, by force if need be. */
  async close(): Promise<void> {
    // Before anything else: what is killed below would come back.
    await Promise.all(this.keepers.map((keeper) => keeper.stop()));
    await Promise.all(this.apps.filter(({ alive }) => alive).map((app) => app.kill()));
    for (const cleanUp of this.cleanUps.reverse()) await cleanUp();
    for (const proxy of [this.proxy, ...this.proxies]) await proxy.close();
    await this.server.sql(`DROP DATABASE IF EXISTS ${this.database} WITH (FORCE)`);
  }
}
