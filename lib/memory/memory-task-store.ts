import type { LimitedClaim } from '../engine/limits.js';
import type {
  CancelOutcome,
  ClaimRequest,
  ExpireRequest,
  Expiry,
  Holding,
  Lease,
  LeaseEvents,
  LeaseTerms,
  Listening,
  PageRequest,
  RescuedTask,
  RescueRequest,
  Settlement,
  StoreHint,
  TaskCounts,
  TaskFilter,
  TaskOutcome,
  TaskPage,
  WorkerIdentity,
} from '../engine/task-store.js';
import { TaskStore } from '../engine/task-store.js';
import type { ClaimedTask, NewTask, Stored, Task, TaskState } from '../engine/task.js';
import type { PruneReport } from '../engine/upkeep.js';
import { InvalidOptionsError } from '../errors/configuration.errors.js';
import { StoreClosedError } from '../errors/store.errors.js';
import { Hints } from './hints.js';
import { MemoryBulk } from './memory-bulk.js';
import { MemoryControl } from './memory-control.js';
import { MemoryLanes } from './memory-lanes.js';
import { MemorySchedules } from './memory-schedules.js';
import { Producer } from './producer.js';
import { TaskChanger } from './task-changer.js';
import { TaskEnds } from './task-ends.js';
import { TaskReader } from './task-reader.js';
import { TaskRecovery } from './task-recovery.js';
import { TaskSettler } from './task-settler.js';
import { TaskTable } from './task-table.js';
import { asClaimedTask } from './task-views.js';
import { Workers } from './workers.js';

export interface MemoryTaskStoreOptions {
  /** The store's clock, in milliseconds since 1970; replace it for virtual time. @default Date.now */
  readonly now?: () => number;
}

/**
 * Keeps tasks in this process, for tests and development: what it shows is what the PostgreSQL store shows, except that
 * nothing outlives the process and that there are no transactions to join. Each method runs in one go, so callers race
 * only between calls.
 */
export class MemoryTaskStore extends TaskStore {
  readonly description = 'memory';

  readonly transactions = null;
  readonly schedules: MemorySchedules;
  readonly control: MemoryControl;
  readonly lanes: MemoryLanes;
  readonly bulk: MemoryBulk;
  private readonly tasks = new TaskTable();
  private readonly hints = new Hints();
  private readonly workers: Workers;
  private readonly producer: Producer;
  private readonly settler: TaskSettler;
  private readonly recovery: TaskRecovery;
  private readonly reader: TaskReader;
  private readonly changer: TaskChanger;
  private readonly now: () => number;
  private isOpen = false;

  constructor(options: MemoryTaskStoreOptions = {}) {
    super();
    this.now = options.now ?? Date.now;
    this.workers = new Workers(this.now);
    this.control = new MemoryControl(this.now, () => this.hints.control());
    this.lanes = new MemoryLanes(
      this.tasks,
      this.now,
      () => this.isOpen,
      (queues) => this.hints.wake(queues),
    );
    const isOpenTo = (workerId: string, queue: string) => this.isOpenTo(workerId, queue);
    this.producer = new Producer(this.tasks, isOpenTo, this.hints, this.lanes, this.now);
    this.schedules = new MemorySchedules(
      this.now,
      (tasks) => this.producer.store(tasks),
      () => this.hints.schedule(),
    );
    const ends = new TaskEnds(this.tasks, this.hints, this.now);
    this.settler = new TaskSettler(this.tasks, this.lanes, ends, this.hints, this.now);
    this.recovery = new TaskRecovery(this.tasks, this.workers, this.lanes, ends, this.hints, this.now);
    this.reader = new TaskReader(this.tasks, this.now);
    this.changer = new TaskChanger(this.tasks, this.lanes, ends, this.hints, this.now, () => this.assertOpen());
    this.bulk = new MemoryBulk(this.tasks, this.changer, this.now);
  }

  async open(): Promise<void> {
    this.isOpen = true;
  }

  /** Ends renewals and hints; the tasks stay, as they would in a database, and are there again after `open`. */
  async close(): Promise<void> {
    this.isOpen = false;
    this.workers.stopRenewing();
    this.hints.clear();
  }

  /** Memory has no connection to lose. */
  isTransient(): boolean {
    return false;
  }

  async enqueue(tasks: readonly NewTask[], scope?: unknown): Promise<Stored[]> {
    this.assertOpen();
    assertNoScope(scope);
    return this.producer.store(tasks);
  }

  afterCommit(scope: unknown, effect: () => void): void {
    assertNoScope(scope);
    effect();
  }

  ambientScope(): undefined {
    return undefined;
  }

  async lease(worker: WorkerIdentity, terms: LeaseTerms, events: LeaseEvents): Promise<Lease> {
    this.assertOpen();
    return this.workers.register(worker, terms, events);
  }

  async claim(request: ClaimRequest): Promise<ClaimedTask[]> {
    this.assertOpen();
    if (!this.isOpenTo(request.workerId, request.queue)) return [];
    const now = this.now();
    return this.tasks.claim(request, now).map((task) => asClaimedTask(task, now));
  }

  async claimLimited(request: ClaimRequest): Promise<LimitedClaim> {
    this.assertOpen();
    const { queue, workerId, limit } = request;
    if (this.control.isPaused(queue) || !this.workers.isAlive(workerId)) return { tasks: [], nextInMs: null };
    const { room, admits, nextInMs } = this.control.admission(queue, this.tasks.running(queue));
    const now = this.now();
    const within = { ...request, limit: Math.min(limit, room), startNow: limit };
    const tasks = within.limit > 0 ? this.tasks.claim(within, now, admits).map((task) => asClaimedTask(task, now)) : [];
    return { tasks, nextInMs: nextInMs() };
  }

  async settle(workerId: string, settlements: readonly Settlement[]): Promise<ReadonlyMap<string, TaskState>> {
    this.assertOpen();
    return this.settler.settle(workerId, settlements);
  }

  async holdings(workerId: string): Promise<readonly Holding[]> {
    this.assertOpen();
    return this.tasks.heldBy(workerId).map(({ id, queue, claimSeq, cancelRequest }) => {
      return { id, queue, claimSeq, cancelRequested: cancelRequest !== null };
    });
  }

  async nextDueMs(queue: string): Promise<number | null> {
    this.assertOpen();
    return this.reader.nextDueMs(queue);
  }

  async rescue(request: RescueRequest): Promise<readonly RescuedTask[]> {
    this.assertOpen();
    return this.recovery.rescue(request);
  }

  async expire(request: ExpireRequest): Promise<Expiry> {
    this.assertOpen();
    this.producer.forget();
    return this.recovery.expire(request);
  }

  async prune(): Promise<PruneReport> {
    this.assertOpen();
    return { dropped: [], deleted: this.tasks.prune(this.now()), unfinished: false };
  }

  async listen(listener: (hint: StoreHint) => void): Promise<Listening> {
    const stop = this.hints.listen(listener);
    return { live: true, stop: async () => stop() };
  }

  async find(id: string): Promise<Task | null> {
    this.assertOpen();
    return this.reader.find(id);
  }

  async list(filter: TaskFilter, page: PageRequest): Promise<TaskPage> {
    this.assertOpen();
    return this.reader.list(filter, page);
  }

  async counts(queue?: string): Promise<TaskCounts> {
    this.assertOpen();
    return this.reader.counts(queue);
  }

  async outcomes(ids: readonly string[]): Promise<ReadonlyMap<string, TaskOutcome>> {
    this.assertOpen();
    return this.reader.outcomes(ids);
  }

  async cancel(id: string, keepMs: (queue: string) => number | null): Promise<CancelOutcome> {
    return this.changer.cancel(id, keepMs);
  }

  async retry(id: string): Promise<boolean> {
    return this.changer.retry(id);
  }

  async remove(id: string): Promise<boolean> {
    return this.changer.remove(id);
  }

  async pause(queue: string): Promise<void> {
    this.assertOpen();
    this.control.pause(queue);
  }

  async resume(queue: string): Promise<void> {
    this.assertOpen();
    if (this.control.resume(queue)) this.hints.wake([queue]);
  }

  async pausedQueues(): Promise<readonly string[]> {
    this.assertOpen();
    return this.control.paused();
  }

  /** Whether a worker may have tasks of this queue without regard to limits. */
  private isOpenTo(workerId: string, queue: string): boolean {
    return !this.control.isPaused(queue) && !this.control.isLimited(queue) && this.workers.isAlive(workerId);
  }

  private assertOpen(): void {
    if (!this.isOpen) throw new StoreClosedError();
  }
}

function assertNoScope(scope: unknown): void {
  if (scope === undefined) return;
  throw new InvalidOptionsError(
    `The memory task store has no transactions, so it cannot join one. ` +
      `Enqueue without a manager, or use the PostgreSQL store.`,
  );
}
