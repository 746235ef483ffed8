import type { ClientConfig } from 'pg';
import type { DataSource } from 'typeorm';
import type { BulkStore } from '../engine/bulk-store.js';
import { delay } from '../engine/delay.js';
import type { Lane } from '../engine/lane.js';
import type { LaneStore } from '../engine/lane-store.js';
import { cursorAfter, readPage } from '../engine/page-cursor.js';
import type { ControlStore } from '../engine/control-store.js';
import type { LimitedClaim } from '../engine/limits.js';
import type { ScheduleStore } from '../engine/schedule-store.js';
import type { TaskRef } from '../engine/task-event.js';
import type { ClaimedTask, NewTask, Stored, Task, TaskState } from '../engine/task.js';
import {
  type CancelOutcome,
  type ClaimRequest,
  type ExpireRequest,
  type Expiry,
  type Holding,
  type Lease,
  type LeaseEvents,
  type LeaseTerms,
  type Listening,
  type PageRequest,
  type RescuedTask,
  type RescueRequest,
  type Settlement,
  type StoreHint,
  type TaskCounts,
  type TaskFilter,
  type TaskOutcome,
  type TaskPage,
  TaskStore,
  type WorkerIdentity,
} from '../engine/task-store.js';
import type { PruneReport, PruneRequest } from '../engine/upkeep.js';
import type { TransactionSource } from '../engine/task-transaction.js';
import { BackieError } from '../errors/backie.error.js';
import { ConnectionFailedError, StoreClosedError, UniqueKeyTakenError } from '../errors/store.errors.js';
import { AttemptTransactions } from './attempt-transactions.js';
import { Claimer } from './claimer.js';
import { type ConnectionSource, describeTarget, engineOptions, isDataSource } from './connection-options.js';
import { Database, type Run } from './database.js';
import { HotTableVacuum } from './hot-table.vacuum.js';
import { defaultSchema } from './identifiers.js';
import { migrate, type MigrationMode } from './migrate.js';
import { isRefusal, isTransient, isUniqueViolation } from './postgres-errors.js';
import { PostgresLease } from './postgres-lease.js';
import { PostgresNotifier } from './postgres-notifier.js';
import { Permits } from './permits.js';
import { Producer } from './producer.js';
import { keepJson, keepValue, settlementsJson } from './task-input.js';
import { lanesOfRows, shownTask, taskOutcome, text } from './task-row.js';
import { SharedNotifier } from './shared-notifier.js';
import { namedStatements, type StatementName, type Statements } from './statements.js';
import type { TextRow } from './text-query.js';
import { TypeOrmControlStore } from './typeorm-control-store.js';
import { TypeOrmLaneStore } from './typeorm-lane-store.js';
import { TypeOrmBulkStore } from './typeorm-bulk-store.js';
import { type Transaction, TypeOrmScheduleStore } from './typeorm-schedule-store.js';
import { TypeOrmUpkeep } from './typeorm-upkeep.js';

export interface TypeOrmTaskStoreOptions {
  /**
   * Where the tasks are: a `postgres://` URL, TypeORM's options, or the application's DataSource. Of a DataSource only
   * the options are used, for connections of the store's own; transactions of it can be joined.
   */
  readonly connection: ConnectionSource;
  /** The PostgreSQL schema that holds the tables. @default 'backie' */
  readonly schema?: string;
  /** Create and change the tables at start, only check them, or neither. @default 'run' */
  readonly migrations?: MigrationMode;
  /** How long to wait for a server that is not there yet, in milliseconds. @default 30_000 */
  readonly connectTimeoutMs?: number;
  /** Told why, each time that the server was not there and is waited for. */
  readonly onWaiting?: (reason: string) => void;
}

const rescueLimit = 1_000;
const expireLimit = 1_000;
const connectionsForLooks = 1;

/** Keeps tasks in PostgreSQL, through a TypeORM DataSource whose connections are the store's own. */
export class TypeOrmTaskStore extends TaskStore {
  readonly description: string;
  readonly schema: string;
  private readonly database: Database;
  private readonly statements: Statements;
  private readonly appDataSource: DataSource | undefined;
  private readonly producer: Producer;
  private readonly claimer: Claimer;
  private readonly vacuum: HotTableVacuum;
  private readonly upkeep: TypeOrmUpkeep;
  readonly schedules: ScheduleStore;
  readonly transactions: TransactionSource;
  private readonly attempts: AttemptTransactions;
  readonly control: ControlStore;
  readonly lanes: LaneStore;
  private readonly keyed: TypeOrmLaneStore;
  private readonly listeners = new Set<(hint: StoreHint) => void>();
  readonly bulk: BulkStore;
  private readonly notifier = new SharedNotifier(
    (listener) => new PostgresNotifier(this.connectionConfig(), this.statements.listen.text, listener),
  );
  private readonly looks = new Permits(connectionsForLooks);
  private opened = false;
  private readonly openRun: Run = (statement, values) =>
    this.opened ? this.database.run(statement, values) : Promise.reject(new StoreClosedError());

  constructor(private readonly options: TypeOrmTaskStoreOptions) {
    super();
    this.schema = options.schema ?? defaultSchema;
    this.statements = namedStatements(this.schema);
    const postgres = engineOptions(options.connection, this.schema);
    this.database = new Database(postgres);
    this.lanes = this.keyed = new TypeOrmLaneStore(this.statements, this.openRun, (queue, inMs) =>
      this.admitted(queue, inMs),
    );
    this.producer = new Producer(this.database, this.statements, (lanes) => this.keyed.tryToAdmit(lanes));
    this.claimer = new Claimer(this.openRun, this.statements);
    const transaction: Transaction = async (work) => {
      const lanes: Lane[] = [];
      const result = await this.database.transaction((run) =>
        work(run, async (tasks) => {
          const { stored, lanes: concerned } = await this.producer.enqueueBy(run, tasks);
          lanes.push(...concerned);
          return stored;
        }),
      );
      await this.keyed.tryToAdmit(lanes);
      return result;
    };
    this.schedules = new TypeOrmScheduleStore(this.statements, this.openRun, transaction);
    this.bulk = new TypeOrmBulkStore(this.statements, this.openRun, (lanes) => this.keyed.tryToAdmit(lanes));
    this.upkeep = new TypeOrmUpkeep(
      this.statements,
      this.openRun,
      (work) => this.database.transaction(work),
      this.schema,
    );
    this.control = new TypeOrmControlStore(this.statements, this.openRun);
    this.vacuum = new HotTableVacuum(this.database.run, this.schema);
    this.transactions = this.attempts = new AttemptTransactions(options.connection, {
      settle: async (settleBy, workerId, settlement) =>
        (await this.settleBy(settleBy, workerId, [settlement])).get(settlement.id),
      settled: (settlement) => this.settled([settlement], 1),
      terminate: (client) => this.database.terminate(client),
    });
    this.appDataSource = isDataSource(options.connection) ? options.connection : undefined;
    this.description = `PostgreSQL at ${describeTarget(postgres)}, schema ${JSON.stringify(this.schema)}`;
  }

  async open(): Promise<void> {
    await this.connect();
    try {
      await migrate(this.database.dataSource, this.schema, this.options.migrations ?? 'run');
    } catch (error) {
      await this.database.close();
      throw error;
    }
    this.opened = true;
    this.attempts.open();
  }

  async close(): Promise<void> {
    this.opened = false;
    this.producer.stop();
    await Promise.all([this.attempts.close(), this.database.close()]);
  }

  isTransient(error: unknown): boolean {
    return isTransient(error);
  }

  async enqueue(tasks: readonly NewTask[], scope?: unknown, again = false): Promise<Stored[]> {
    if (!this.opened) throw new StoreClosedError();
    return this.producer.enqueue(tasks, scope, again);
  }

  afterCommit(scope: unknown, effect: () => void): void {
    this.producer.afterCommit(scope, effect);
  }

  ambientScope(): unknown {
    // Packages that keep a transaction in the async context patch this property, so it is read at every call.
    const manager = this.appDataSource?.manager;
    return manager?.queryRunner?.isTransactionActive ? manager : undefined;
  }

  async lease(worker: WorkerIdentity, terms: LeaseTerms, events: LeaseEvents): Promise<Lease> {
    const { id, host, pid, version, queues } = worker;
    const sentAt = process.hrtime.bigint();
    await this.run('registerWorker', [id, host, pid, version, JSON.stringify(queues), terms.leaseMs]);
    return new PostgresLease(
      {
        ...terms,
        workerId: id,
        connection: this.connectionConfig(),
        sql: this.statements.renewLease.text,
        end: async () => void (await this.run('endLease', [id])),
        renewHere: async () => (await this.run('renewLeaseHere', [id, terms.leaseMs])).length > 0,
      },
      events,
      sentAt,
    );
  }

  async claim(request: ClaimRequest): Promise<ClaimedTask[]> {
    return this.claimer.claim(request);
  }

  async claimLimited(request: ClaimRequest): Promise<LimitedClaim> {
    return this.claimer.claimLimited(request);
  }

  async settle(workerId: string, settlements: readonly Settlement[]): Promise<ReadonlyMap<string, TaskState>> {
    const settled = await this.settleBy(this.openRun, workerId, settlements);
    this.settled(settlements, settled.size);
    return settled;
  }

  /** On the engine's own connections, or in the transaction of an attempt. */
  private async settleBy(
    run: Run,
    workerId: string,
    settlements: readonly Settlement[],
  ): Promise<ReadonlyMap<string, TaskState>> {
    const settled = new Map<string, TaskState>();
    for (const [statement, own] of inStatements(settlements)) {
      const values = statement === 'settle' ? [settlementsJson(own)] : endedValues(statement, own);
      // Only what `settle` writes may have come out otherwise than as done.
      for (const [id, state] of await run(this.statements[statement], [workerId, ...values])) {
        settled.set(text(id), (state as TaskState | undefined) ?? 'done');
      }
    }
    return settled;
  }

  private settled(settlements: readonly Settlement[], count: number): void {
    if (settlements.some(({ kind }) => kind !== 'finish')) this.claimer.gaveBack();
    this.vacuum.count(count);
  }

  async holdings(workerId: string): Promise<readonly Holding[]> {
    const rows = await this.run('holdings', [workerId]);
    return rows.map(([id, queue, claimSeq, cancelRequested]) => {
      return { id: text(id), queue: text(queue), claimSeq: Number(claimSeq), cancelRequested: cancelRequested === 't' };
    });
  }

  async nextDueMs(queue: string): Promise<number | null> {
    const [row] = await this.run('nextDue', [queue]);
    return row?.[0] == null ? null : Number(row[0]);
  }

  async rescue(request: RescueRequest): Promise<readonly RescuedTask[]> {
    const { leaseMs, maxCrashes, keepFailedMs, keepOthersMs = Infinity, deadLetters = {} } = request;
    const dead = JSON.stringify(deadLetters);
    const rescued: RescuedTask[] = [];
    for (let found = rescueLimit; found === rescueLimit;) {
      const values = [leaseMs, maxCrashes, keepJson(keepFailedMs), rescueLimit, dead, keepValue(keepOthersMs)];
      const rows = await this.run('rescue', values);
      // What somebody wanted cancelled ends so, and is no longer anybody's to rescue. No row at all has no id.
      await this.keyed.tryToAdmit(lanesOfRows(rows.map(([, queue, name, , , , lane]) => [queue, name, lane])));
      rescued.push(...rows.filter(([id, , , , , end]) => id !== null && end !== 'cancelled').map(rescuedTask));
      found = rows.length;
    }
    if (rescued.length > 0) this.claimer.gaveBack();
    return rescued;
  }

  async expire({ keepCancelledMs, keepOthersMs = Infinity }: ExpireRequest): Promise<Expiry> {
    const expired: TaskRef[] = [];
    for (;;) {
      const rows = await this.run('expire', [keepJson(keepCancelledMs), expireLimit, keepValue(keepOthersMs)]);
      const ended = rows.filter(([, , id]) => id !== null);
      expired.push(...ended.map(([, , id, queue, name]) => ({ id: text(id), queue: text(queue), name: text(name) })));
      await this.keyed.tryToAdmit(lanesOfRows(ended.map(([, , , ...lane]) => lane)));
      const [nextInMs, forgotten] = rows[0] ?? [];
      if (ended.length === expireLimit || Number(forgotten) === expireLimit) continue;
      return { expired, nextInMs: nextInMs == null ? null : Number(nextInMs) };
    }
  }

  async prune(request: PruneRequest): Promise<PruneReport> {
    return this.upkeep.prune(request);
  }

  async listen(listener: (hint: StoreHint) => void): Promise<Listening> {
    // An object of its own: the same function may listen twice.
    const heard = (hint: StoreHint) => listener(hint);
    this.listeners.add(heard);
    const unlisten = () => void this.listeners.delete(heard);
    if (this.database.behindPooler) {
      listener({ kind: 'deaf', reason: 'a transaction pooler passes on no NOTIFY' });
      return { live: false, stop: async () => unlisten() };
    }
    const listening = await this.notifier.listen(listener);
    return {
      get live() {
        return listening.live;
      },
      stop: () => {
        unlisten();
        return listening.stop();
      },
    };
  }

  /** Tasks got their place: this process need not wait for its own NOTIFY. */
  private admitted(queue: string, inMs: number): void {
    // What has waited for its place is due since long ago.
    this.claimer.gaveBack();
    for (const listener of this.listeners) listener({ kind: 'wake', queue, inMs });
    this.producer.tell(queue, inMs);
  }

  async find(id: string): Promise<Task | null> {
    if (!isUuid(id)) return null;
    const [row] = await this.look('find', [id]);
    return row ? shownTask(row) : null;
  }

  async outcomes(ids: readonly string[]): Promise<ReadonlyMap<string, TaskOutcome>> {
    const known = ids.filter(isUuid);
    if (known.length === 0) return new Map();
    return new Map((await this.run('outcomes', [known])).map((row) => [text(row[0]), taskOutcome(row)]));
  }

  async list(filter: TaskFilter, page: PageRequest): Promise<TaskPage> {
    const { limit, after, oldestFirst } = readPage(page);
    const states = filter.state === undefined ? null : [filter.state].flat();
    const rows = await this.look(oldestFirst ? 'listOldestFirst' : 'listNewestFirst', [
      limit + 1,
      after,
      filter.queue ?? null,
      filter.name ?? null,
      states,
      filter.uniqueKey ?? null,
    ]);
    const tasks = rows.slice(0, limit).map(shownTask);
    const last = rows.length > limit ? tasks.at(-1) : undefined;
    return { tasks, next: last ? cursorAfter(last.id) : null };
  }

  async counts(queue?: string): Promise<TaskCounts> {
    const counts = { ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 };
    for (const [state, count] of await this.look('counts', [queue ?? null])) {
      counts[state as keyof typeof counts] = Number(count);
    }
    return counts;
  }

  async cancel(id: string, keepMs: (queue: string) => number | null): Promise<CancelOutcome> {
    if (!isUuid(id)) return 'notLive';
    const [found] = await this.run('queueOf', [id]);
    if (!found) return 'notLive';
    const queue = text(found[0]);
    const [row] = await this.run('cancel', [id, queue, keepValue(keepMs(queue))]);
    if (Number(row?.[0]) > 0) {
      await this.keyed.tryToAdmit(lanesOfRows([[queue, row?.[2], row?.[3]]]));
      return 'cancelled';
    }
    return Number(row?.[1]) > 0 ? 'requested' : 'notLive';
  }

  async retry(id: string): Promise<boolean> {
    if (!isUuid(id)) return false;
    try {
      const [row = []] = await this.run('retry', [id]);
      await this.keyed.tryToAdmit(lanesOfRows([row.slice(2)]));
      return Number(row[0]) > 0;
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      const [holder] = await this.run('keyHolder', [id]);
      throw new UniqueKeyTakenError(id, holder ? text(holder[0]) : 'that has just finished');
    }
  }

  async remove(id: string): Promise<boolean> {
    if (!isUuid(id)) return false;
    const [row = []] = await this.run('remove', [id]);
    await this.keyed.tryToAdmit(lanesOfRows([row.slice(1)]));
    return Number(row[0]) > 0;
  }

  async pause(queue: string): Promise<void> {
    await this.run('pause', [queue]);
  }

  async resume(queue: string): Promise<void> {
    await this.run('resume', [queue]);
  }

  async pausedQueues(): Promise<readonly string[]> {
    return (await this.run('pausedQueues', [])).map(([name]) => text(name));
  }

  /** For what people look at: it may take long, and must leave connections to the workers. */
  private look(statement: StatementName, values: readonly unknown[]): Promise<readonly TextRow[]> {
    return this.looks.with(() => this.run(statement, values));
  }

  private run(statement: StatementName, values: readonly unknown[]): Promise<readonly TextRow[]> {
    return this.openRun(this.statements[statement], values);
  }

  /** A server that is starting up, or not there yet, is waited for; one that refuses us is not. */
  private async connect(): Promise<void> {
    const giveUpAt = performance.now() + (this.options.connectTimeoutMs ?? 30_000);
    for (let pauseMs = 100; ; pauseMs = Math.min(pauseMs * 2, 3_000)) {
      try {
        return await this.database.open();
      } catch (error) {
        if (error instanceof BackieError) throw error;
        if (isRefusal(error) || !isTransient(error) || performance.now() + pauseMs > giveUpAt) {
          const reason = error instanceof Error ? error.message || error.name : String(error);
          throw new ConnectionFailedError(describeTarget(this.database.options), reason, { cause: error });
        }
        this.options.onWaiting?.(error instanceof Error ? error.message || error.name : String(error));
        await delay(pauseMs);
      }
    }
  }

  /** The options of the pool, for connections apart from it. */
  private connectionConfig(): ClientConfig {
    const { user, password, host, port, database, ssl, connectionString, application_name } = this.database.pool
      .options as ClientConfig;
    // The pool hides the client's key from enumeration, and a copy for a thread would lack it.
    const visible = typeof ssl === 'object' ? { ...ssl, ...(ssl.key !== undefined && { key: ssl.key }) } : ssl;
    return { user, password, host, port, database, ssl: visible, connectionString, application_name, keepAlive: true };
  }
}

type SettleStatement = 'settleRemoved' | 'settleKept' | 'settle';

/** Most tasks simply end; what happens to the others is decided row by row. */
function statementOf(settlement: Settlement): SettleStatement {
  if (settlement.kind !== 'finish' || settlement.state !== 'done' || settlement.attempt) return 'settle';
  return settlement.keepMs === null ? 'settleRemoved' : 'settleKept';
}

/** The input of those by which tasks simply end. */
function endedValues(statement: 'settleRemoved' | 'settleKept', settlements: readonly Settlement[]): unknown[] {
  const values: unknown[] = [
    settlements.map(({ id }) => id),
    settlements.map(({ queue }) => queue),
    settlements.map(({ claimSeq }) => String(claimSeq)),
  ];
  if (statement === 'settleKept') {
    values.push(settlements.map((settlement) => keepValue(settlement.kind === 'finish' ? settlement.keepMs : null)));
    values.push(settlements.map((settlement) => resultOf(settlement) ?? null));
  }
  return values;
}

function resultOf(settlement: Settlement): string | undefined {
  return settlement.kind === 'finish' ? settlement.result : undefined;
}

/** How many characters of results one statement carries, if it is more than one result. */
const maxResultsLength = 8 * 1024 * 1024;

function inStatements(settlements: readonly Settlement[]): [SettleStatement, readonly Settlement[]][] {
  return [...byStatement(settlements)].flatMap(([statement, own]) => {
    const parts = statement === 'settleKept' ? inParts(own) : [own];
    return parts.map((part): [SettleStatement, readonly Settlement[]] => [statement, part]);
  });
}

function inParts(settlements: readonly Settlement[]): (readonly Settlement[])[] {
  const parts: Settlement[][] = [[]];
  let length = 0;
  for (const settlement of settlements) {
    const own = resultOf(settlement)?.length ?? 0;
    if (length > 0 && length + own > maxResultsLength) {
      parts.push([]);
      length = 0;
    }
    parts.at(-1)?.push(settlement);
    length += own;
  }
  return parts;
}

function byStatement(settlements: readonly Settlement[]): Map<SettleStatement, Settlement[]> {
  const groups = new Map<SettleStatement, Settlement[]>();
  for (const settlement of settlements) {
    const statement = statementOf(settlement);
    const group = groups.get(statement);
    if (group) group.push(settlement);
    else groups.set(statement, [settlement]);
  }
  return groups;
}

function rescuedTask([id, queue, name, attempt, crashes, end]: TextRow): RescuedTask {
  return {
    id: text(id),
    queue: text(queue),
    name: text(name),
    attempt: Number(attempt),
    crashes: Number(crashes),
    quarantined: end === 'failed',
  };
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

function isUuid(id: string): boolean {
  return uuid.test(id);
}
