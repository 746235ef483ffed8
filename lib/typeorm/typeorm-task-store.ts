import type { DataSource } from 'typeorm';
import type { BulkStore } from '../engine/bulk-store.js';
import type { ControlStore } from '../engine/control-store.js';
import type { LaneStore } from '../engine/lane-store.js';
import type { Lane } from '../engine/lane.js';
import type { LimitedClaim } from '../engine/limits.js';
import type { ScheduleStore } from '../engine/schedule-store.js';
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
import type { TransactionSource } from '../engine/task-transaction.js';
import type { ClaimedTask, NewTask, Stored, Task, TaskState } from '../engine/task.js';
import type { PruneReport, PruneRequest } from '../engine/upkeep.js';
import { StoreClosedError } from '../errors/store.errors.js';
import { AttemptTransactions } from './attempt-transactions.js';
import { ClaimBase } from './claim-base.js';
import { Claimer } from './claimer.js';
import { clientConfig } from './client-config.js';
import { describeTarget, engineOptions, isDataSource } from './connection-options.js';
import { Database, type Run } from './database.js';
import { HotTableVacuum } from './hot-table.vacuum.js';
import { defaultSchema } from './identifiers.js';
import { migrate } from './migrate.js';
import { openDatabase } from './open-database.js';
import { isTransient } from './postgres-errors.js';
import { PostgresLease } from './postgres-lease.js';
import { Producer } from './producer.js';
import { settleBy } from './settle.js';
import { namedStatements, type StatementName, type Statements } from './statements.js';
import { StoreHints } from './store-hints.js';
import { TaskChanger } from './task-changer.js';
import { TaskReader } from './task-reader.js';
import { TaskRecovery } from './task-recovery.js';
import { text } from './task-row.js';
import type { TextRow } from './text-query.js';
import { TypeOrmBulkStore } from './typeorm-bulk-store.js';
import { TypeOrmControlStore } from './typeorm-control-store.js';
import { TypeOrmLaneStore } from './typeorm-lane-store.js';
import { type Transaction, TypeOrmScheduleStore } from './typeorm-schedule-store.js';
import type { TypeOrmTaskStoreOptions } from './typeorm-task-store.options.js';
import { TypeOrmUpkeep } from './typeorm-upkeep.js';

/**
 * Keeps tasks in PostgreSQL, through a TypeORM DataSource whose connections are the store's own. It puts the parts of this
 * folder together to what the contract asks for; each statement is sent by one of them, or here where it is all there is.
 */
export class TypeOrmTaskStore extends TaskStore {
  readonly description: string;
  readonly schema: string;
  readonly schedules: ScheduleStore;
  readonly transactions: TransactionSource;
  readonly control: ControlStore;
  readonly lanes: LaneStore;
  readonly bulk: BulkStore;
  private readonly database: Database;
  private readonly statements: Statements;
  private readonly appDataSource: DataSource | undefined;
  private readonly producer: Producer;
  private readonly claimer: Claimer;
  private readonly recovery: TaskRecovery;
  private readonly reader: TaskReader;
  private readonly changer: TaskChanger;
  private readonly hints: StoreHints;
  private readonly vacuum: HotTableVacuum;
  private readonly upkeep: TypeOrmUpkeep;
  private readonly attempts: AttemptTransactions;
  private opened = false;
  private readonly openRun: Run = (statement, values) =>
    this.opened ? this.database.run(statement, values) : Promise.reject(new StoreClosedError());

  constructor(private readonly options: TypeOrmTaskStoreOptions) {
    super();
    this.schema = options.schema ?? defaultSchema;
    const statements = (this.statements = namedStatements(this.schema));
    const postgres = engineOptions(options.connection, this.schema);
    const database = (this.database = new Database(postgres));
    const run = this.openRun;
    this.hints = new StoreHints(database, statements);
    const lanes = new TypeOrmLaneStore(statements, run, (queue, inMs) => this.admitted(queue, inMs));
    const admit = (keyed: readonly Lane[]) => lanes.tryToAdmit(keyed);
    const producer = (this.producer = new Producer(database, statements, admit));
    const gaveBack = () => this.claimer.gaveBack();
    // Claims that were forgotten may lie before where this process knew heads to begin; others look there soon enough.
    const base = new ClaimBase(run, statements.beginEpoch, gaveBack);
    this.claimer = new Claimer(run, database, base, statements);
    this.recovery = new TaskRecovery(statements, run, base, admit, gaveBack);
    this.reader = new TaskReader(statements, run);
    this.changer = new TaskChanger(statements, run, admit);
    this.lanes = lanes;
    this.bulk = new TypeOrmBulkStore(statements, run, admit);
    this.control = new TypeOrmControlStore(statements, run);
    this.schedules = new TypeOrmScheduleStore(statements, run, transactionOf(database, producer, admit));
    this.upkeep = new TypeOrmUpkeep(statements, run, (work) => database.transaction(work), this.schema);
    this.vacuum = new HotTableVacuum(database.run, this.schema);
    this.transactions = this.attempts = new AttemptTransactions(options.connection, {
      settle: async (runThere, workerId, settlement) =>
        (await settleBy(runThere, statements, workerId, [settlement])).get(settlement.id),
      settled: (settlement) => this.settled([settlement], 1),
      terminate: (client) => database.terminate(client),
    });
    this.appDataSource = isDataSource(options.connection) ? options.connection : undefined;
    this.description = `PostgreSQL at ${describeTarget(postgres)}, schema ${JSON.stringify(this.schema)}`;
  }

  async open(): Promise<void> {
    await openDatabase(this.database, this.options);
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

  async enqueue(
    tasks: readonly NewTask[],
    scope?: unknown,
    again = false,
    committed?: (stored: Stored) => void,
  ): Promise<Stored[]> {
    if (!this.opened) throw new StoreClosedError();
    return this.producer.enqueue(tasks, scope, again, committed);
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
        connection: clientConfig(this.database.pool),
        sql: this.statements.renewLease.text,
        end: async () => void (await this.run('endLease', [id])),
        renewHere: async () => (await this.run('renewLeaseHere', [id, terms.leaseMs])).length > 0,
      },
      events,
      sentAt,
    );
  }

  async claim(request: ClaimRequest): Promise<ClaimedTask[]> {
    if (!this.opened) throw new StoreClosedError();
    return this.claimer.claim(request);
  }

  async claimLimited(request: ClaimRequest): Promise<LimitedClaim> {
    return this.claimer.claimLimited(request);
  }

  async settle(workerId: string, settlements: readonly Settlement[]): Promise<ReadonlyMap<string, TaskState>> {
    const settled = await settleBy(this.openRun, this.statements, workerId, settlements);
    this.settled(settlements, settled.size);
    return settled;
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

  rescue(request: RescueRequest): Promise<readonly RescuedTask[]> {
    return this.recovery.rescue(request);
  }

  expire(request: ExpireRequest): Promise<Expiry> {
    return this.recovery.expire(request);
  }

  async prune(request: PruneRequest): Promise<PruneReport> {
    return this.upkeep.prune(request);
  }

  listen(listener: (hint: StoreHint) => void): Promise<Listening> {
    return this.hints.listen(listener);
  }

  find(id: string): Promise<Task | null> {
    return this.reader.find(id);
  }

  outcomes(ids: readonly string[]): Promise<ReadonlyMap<string, TaskOutcome>> {
    return this.reader.outcomes(ids);
  }

  list(filter: TaskFilter, page: PageRequest): Promise<TaskPage> {
    return this.reader.list(filter, page);
  }

  counts(queue?: string): Promise<TaskCounts> {
    return this.reader.counts(queue);
  }

  cancel(id: string, keepMs: (queue: string) => number | null): Promise<CancelOutcome> {
    return this.changer.cancel(id, keepMs);
  }

  retry(id: string): Promise<boolean> {
    return this.changer.retry(id);
  }

  remove(id: string): Promise<boolean> {
    return this.changer.remove(id);
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

  /** Tasks got their place: this process need not wait for its own NOTIFY. */
  private admitted(queue: string, inMs: number): void {
    // What has waited for its place is due since long ago.
    this.claimer.gaveBack();
    this.hints.tell({ kind: 'wake', queue, inMs });
    this.producer.tell(queue, inMs);
  }

  private settled(settlements: readonly Settlement[], count: number): void {
    if (settlements.some(({ kind }) => kind !== 'finish')) this.claimer.gaveBack();
    this.vacuum.count(count);
  }

  private run(statement: StatementName, values: readonly unknown[]): Promise<readonly TextRow[]> {
    return this.openRun(this.statements[statement], values);
  }
}

/** Transactions of the engine's own that can store tasks; their lanes are admitted to after the commit. */
function transactionOf(
  database: Database,
  producer: Producer,
  admit: (lanes: readonly Lane[]) => Promise<void>,
): Transaction {
  return async (work) => {
    const lanes: Lane[] = [];
    const result = await database.transaction((run) =>
      work(run, async (tasks) => {
        const { stored, lanes: concerned } = await producer.enqueueBy(run, tasks);
        lanes.push(...concerned);
        return stored;
      }),
    );
    await admit(lanes);
    return result;
  };
}
