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
import {
  type ClaimedTask,
  type FinishedState,
  type NewTask,
  type Stored,
  type StoredError,
  type Task,
  type TaskState,
} from '../engine/task.js';
import type { PruneReport } from '../engine/upkeep.js';
import { QuarantinedError } from '../errors/execution.errors.js';
import { InvalidOptionsError } from '../errors/configuration.errors.js';
import { StoreClosedError, UniqueKeyTakenError } from '../errors/store.errors.js';
import { lanesOf } from '../engine/lane.js';
import { Hints } from './hints.js';
import { MemoryControl } from './memory-control.js';
import { MemoryLanes } from './memory-lanes.js';
import { MemoryBulk } from './memory-bulk.js';
import { MemorySchedules } from './memory-schedules.js';
import {
  appendAttempt,
  asClaimedTask,
  asOutcome,
  asTask,
  isExpired,
  isUnstarted,
  type StoredTask,
} from './stored-task.js';
import { Producer } from './producer.js';
import { pageOf } from './task-pages.js';
import { TaskTable } from './task-table.js';
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
    this.bulk = new MemoryBulk({
      all: () => this.tasks.all(),
      cancel: (id, keepMs) => this.cancelOne(id, keepMs),
      retry: (id) => this.retryOne(id) === true,
      remove: (id) => this.removeOne(id),
    });
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
    const settled = new Map<string, TaskState>();
    const back: StoredTask[] = [];
    for (const settlement of settlements) {
      const task = this.tasks.get(settlement.id);
      if (task?.workerId !== workerId) continue;
      if (task.claimSeq !== settlement.claimSeq || task.queue !== settlement.queue) continue;
      this.apply(task, settlement);
      settled.set(task.id, task.state);
      if (task.state === 'ready') back.push(task);
    }
    this.wakeFor(back);
    return settled;
  }

  async holdings(workerId: string): Promise<readonly Holding[]> {
    this.assertOpen();
    return this.tasks.heldBy(workerId).map(({ id, queue, claimSeq, cancelRequest }) => {
      return { id, queue, claimSeq, cancelRequested: cancelRequest !== null };
    });
  }

  async nextDueMs(queue: string): Promise<number | null> {
    this.assertOpen();
    const now = this.now();
    let next = Infinity;
    for (const task of this.tasks.all()) {
      if (task.queue === queue && task.state === 'ready' && !task.parked && task.scheduledAt > now)
        next = Math.min(next, task.scheduledAt);
    }
    return next === Infinity ? null : Math.ceil(next - now);
  }

  async rescue(request: RescueRequest): Promise<readonly RescuedTask[]> {
    this.assertOpen();
    const dead = this.tasks.holders().filter((workerId) => !this.workers.isAlive(workerId));
    const orphans = dead.flatMap((workerId) => this.tasks.heldBy(workerId));
    const lanes = lanesOf(orphans);
    const rescued = orphans.map((task) => this.rescueOne(task, request)).filter((task) => task !== null);
    this.wakeFor(orphans.filter((task) => task.state === 'ready'));
    this.lanes.fill(lanes);
    return rescued;
  }

  async expire({ keepCancelledMs, keepOthersMs = Infinity }: ExpireRequest): Promise<Expiry> {
    this.assertOpen();
    this.producer.forget();
    const now = this.now();
    const waiting = [...this.tasks.all()].filter((task) => isUnstarted(task));
    const expired = waiting.filter((task) => isExpired(task, now));
    for (const task of expired) {
      task.reason = 'expired';
      const keepMs = keepCancelledMs.get(task.queue);
      this.finish(task, 'cancelled', keepMs === undefined ? keepOthersMs : keepMs);
    }
    this.lanes.fill(lanesOf(expired));
    const next = waiting.reduce((soonest, { expiresAt: at }) => (at > now ? Math.min(soonest, at) : soonest), Infinity);
    return {
      expired: expired.map(({ id, name, queue }) => ({ id, name, queue })),
      nextInMs: next === Infinity ? null : Math.ceil(next - now),
    };
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
    const task = this.present(id);
    return task ? asTask(task) : null;
  }

  async list(filter: TaskFilter, page: PageRequest): Promise<TaskPage> {
    this.assertOpen();
    this.tasks.prune(this.now());
    return pageOf(this.tasks.all(), filter, page);
  }

  async counts(queue?: string): Promise<TaskCounts> {
    this.assertOpen();
    this.tasks.prune(this.now());
    const counts = { ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 };
    for (const task of this.tasks.all()) {
      if (queue === undefined || task.queue === queue) counts[task.state] += 1;
    }
    return counts;
  }

  async outcomes(ids: readonly string[]): Promise<ReadonlyMap<string, TaskOutcome>> {
    this.assertOpen();
    const found = new Map<string, TaskOutcome>();
    for (const id of ids) {
      const task = this.present(id);
      if (!task) continue;
      if (task.state === 'ready' || task.state === 'running') task.awaited = true;
      found.set(id, asOutcome(task));
    }
    return found;
  }

  async cancel(id: string, keepMs: (queue: string) => number | null): Promise<CancelOutcome> {
    return this.cancelOne(id, keepMs);
  }

  async retry(id: string): Promise<boolean> {
    const retried = this.retryOne(id);
    if (typeof retried === 'boolean') return retried;
    throw new UniqueKeyTakenError(id, retried.holder);
  }

  async remove(id: string): Promise<boolean> {
    return this.removeOne(id);
  }

  private cancelOne(id: string, keepMs: (queue: string) => number | null): CancelOutcome {
    this.assertOpen();
    const task = this.tasks.get(id);
    if (task?.state === 'ready') {
      this.finish(task, 'cancelled', keepMs(task.queue));
      this.lanes.fill(lanesOf([task]));
      return 'cancelled';
    }
    if (task?.state === 'running') {
      task.cancelRequest = { keepMs: keepMs(task.queue) };
      this.hints.cancel(id);
      return 'requested';
    }
    return 'notLive';
  }

  /** The holder of its unique key, if that is why it cannot go back. */
  private retryOne(id: string): boolean | { readonly holder: string } {
    this.assertOpen();
    const task = this.present(id);
    if (task?.state !== 'failed' && task?.state !== 'cancelled') return false;
    const holder = this.tasks.keyHolder(task);
    if (holder !== undefined) return { holder };
    task.retries = 0;
    task.crashes = 0;
    task.expiresAt = Infinity;
    task.reason = null;
    this.tasks.makeReady(task, this.now());
    this.lanes.fill(lanesOf([task]));
    if (!task.parked) this.wakeFor([task]);
    return true;
  }

  private removeOne(id: string): boolean {
    this.assertOpen();
    const task = this.present(id);
    if (!task || task.state === 'running') return false;
    this.tasks.delete(task);
    this.lanes.fill(lanesOf([task]));
    if (task.awaited) this.hints.ended(id);
    return true;
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

  /** A finished task whose time is over is as good as gone. */
  private present(id: string): StoredTask | undefined {
    const task = this.tasks.get(id);
    return task && task.keptUntil > this.now() ? task : undefined;
  }

  private apply(task: StoredTask, settlement: Settlement): void {
    const now = this.now();
    if ('attempt' in settlement && settlement.attempt) appendAttempt(task, settlement.attempt, now);
    if (settlement.kind === 'finish') {
      task.result = settlement.result ?? null;
      this.finish(task, settlement.state, settlement.keepMs, settlement.deadLetter);
    } else if (task.cancelRequest) {
      this.finish(task, 'cancelled', task.cancelRequest.keepMs);
    } else if (settlement.kind === 'retry' || settlement.kind === 'snooze') {
      task.claimedAhead = false;
      if (settlement.kind === 'retry') task.retries += 1;
      this.lanes.putBack(task, now + settlement.delayMs);
    } else {
      task.claimedAhead = false;
      task.attempt -= 1;
      this.lanes.putBack(task, task.scheduledAt);
    }
  }

  /** Null: the task was to be cancelled, so the death of its worker has ended it. */
  private rescueOne(task: StoredTask, request: RescueRequest): RescuedTask | null {
    const { maxCrashes, keepFailedMs, keepOthersMs = Infinity, deadLetters = {} } = request;
    const now = this.now();
    if (!task.claimedAhead) task.crashes += 1;
    const wish = task.cancelRequest;
    const quarantined = !wish && task.crashes >= maxCrashes;
    const error = quarantined ? { error: quarantine(task) } : {};
    if (!task.claimedAhead) appendAttempt(task, { number: task.attempt, outcome: 'crashed', ...error }, now);
    if (wish) {
      this.finish(task, 'cancelled', wish.keepMs);
      return null;
    }
    const { id, name, queue, attempt, crashes } = task;
    if (quarantined) {
      const dead = Object.hasOwn(deadLetters, name) ? deadLetters[name] : undefined;
      const keepMs = dead === undefined ? keepFailedMs.get(queue) : Infinity;
      this.finish(task, 'failed', keepMs === undefined ? keepOthersMs : keepMs, dead);
    } else this.lanes.putBack(task, task.scheduledAt);
    return { id, name, queue, attempt, crashes, quarantined };
  }

  /** Whether a worker may have tasks of this queue without regard to limits. */
  private isOpenTo(workerId: string, queue: string): boolean {
    return !this.control.isPaused(queue) && !this.control.isLimited(queue) && this.workers.isAlive(workerId);
  }

  private finish(task: StoredTask, state: FinishedState, keepMs: number | null, deadLetter?: string): void {
    this.tasks.finish(task, state, keepMs, this.now(), deadLetter);
    if (task.awaited) this.hints.ended(task.id);
    task.awaited = false;
  }

  /** Later ones need no hint: whoever polls finds them when they are due. */
  private wakeFor(tasks: readonly StoredTask[]): void {
    const now = this.now();
    this.hints.wake(tasks.filter((task) => task.scheduledAt <= now).map((task) => task.queue));
  }

  private assertOpen(): void {
    if (!this.isOpen) throw new StoreClosedError();
  }
}

function quarantine({ name, id, crashes }: StoredTask): StoredError {
  const error = new QuarantinedError(name, id, crashes);
  return { name: error.name, message: error.message };
}

function assertNoScope(scope: unknown): void {
  if (scope === undefined) return;
  throw new InvalidOptionsError(
    `The memory task store has no transactions, so it cannot join one. ` +
      `Enqueue without a manager, or use the PostgreSQL store.`,
  );
}
