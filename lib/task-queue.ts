import { backgroundTaskOf } from './decorators/background-task.decorator.js';
import { isInstance } from './engine/is-instance.js';
import { BackieError } from './errors/backie.error.js';
import { type Enqueued, type Task, TaskState } from './engine/task.js';
import { keepMs, type Retention } from './engine/retention.js';
import type { LimitChanges, QueueLimits } from './engine/limits.js';
import type { PageRequest, TaskCounts, TaskFilter, TaskPage } from './engine/task-lookup.js';
import type { TaskStore } from './engine/task-store.js';
import type { WorkerPool } from './engine/worker-pool.js';
import { InvalidOptionsError, UnknownTaskError } from './errors/configuration.errors.js';
import { StoreUnavailableError } from './errors/store.errors.js';
import type { BackgroundTaskClass, PayloadOf, ResultOf } from './interfaces/background-task-handler.interface.js';
import type { BulkFilter, RedriveFilter, ResultOptions } from './interfaces/bulk-filter.interface.js';
import type { EnqueueManyOptions, EnqueueOptions } from './interfaces/enqueue-options.interface.js';
import type { ScheduleInfo, ScheduleOptions } from './interfaces/schedule-options.interface.js';
import { checkEnqueueOptions } from './options/check-task-options.js';
import { checkName, maxNameLength, shown } from './options/checks.js';
import { checkFilter, checkPage } from './options/check-filter.js';
import { defaultInstance } from './options/instance.js';
import type { ResolvedOptions } from './options/resolve-options.js';
import { TaskBulk } from './task-bulk.js';
import { TaskEnqueuer } from './task-enqueuer.js';
import type { TaskEvents } from './task-events.js';
import { TaskControls } from './task-controls.js';
import { prepareTasks, type TaskTarget, validPayloads } from './task-preparation.js';
import type { KeyOptions, PausedKey } from './interfaces/paused-key.interface.js';
import { TaskKeys } from './task-keys.js';
import type { TaskResults } from './task-results.js';
import type { TaskSchedules } from './task-schedules.js';
import type { TaskRegistry } from './task.registry.js';

/** The arguments after the task: a payload that may be undefined may also be left out. */
export type EnqueueArguments<Payload, Options> = unknown extends Payload
  ? [payload?: Payload, options?: Options]
  : undefined extends Payload
    ? [payload?: Payload, options?: Options]
    : [payload: Payload, options?: Options];

const noOptions = Object.freeze({});

/** Enqueues tasks, and looks after those that are there. */
export class TaskQueue {
  private readonly enqueuer: TaskEnqueuer;
  private readonly targets = new WeakMap<BackgroundTaskClass, TaskTarget>();
  private readonly controls: TaskControls;
  private readonly keys: TaskKeys;
  private readonly bulk: TaskBulk;

  constructor(
    private readonly store: TaskStore,
    private readonly registry: TaskRegistry,
    private readonly pool: WorkerPool,
    private readonly events: TaskEvents,
    private readonly options: ResolvedOptions,
    private readonly schedulesOf: TaskSchedules,
    private readonly results: TaskResults,
  ) {
    this.enqueuer = new TaskEnqueuer(store, pool, events);
    this.controls = new TaskControls(store);
    this.keys = new TaskKeys(store);
    this.bulk = new TaskBulk(store, events, (name) => keepMs(this.retentionOf(name), TaskState.cancelled));
  }

  /** The same for a task by its name; its payload's type is not known then. */
  enqueue(task: string, payload?: unknown, options?: EnqueueOptions): Promise<Enqueued>;
  /**
   * Stores a task; it runs once the surrounding transaction, if any, has committed.
   *
   * @param task A class decorated with `@BackgroundTask`, or the name of a task: one that this process does not know
   * runs with the options of the process that does, on the queue `default` unless `options.queue` says otherwise.
   * @param payload JSON-serialisable, at most `maxPayloadBytes` (1 MiB) once encoded.
   * @param options.manager Enqueue inside this transaction. Without it, the ambient transaction of the module's
   * `dataSource` is joined where a package keeps one (typeorm-transactional, for instance).
   * @param options.delayMs Milliseconds from now until the task is due. @default 0
   * @param options.expiresInMs Milliseconds from now: when the task has not started by then, it ends as cancelled.
   * @returns The task's id, whether an equal unique task already stood in its place, and whether that was replaced.
   * @throws InvalidPayloadError and PayloadSchemaError when the payload cannot be stored; UnknownTaskError for a class
   * that is no task; InvalidOptionsError for a bad option. Nothing has been written then, and the transaction of
   * `manager` is still usable.
   * @throws StoreUnavailableError when the database does not answer; whether the task is stored, or has even started, is
   * then unknown.
   */
  enqueue<TaskClass extends BackgroundTaskClass>(
    task: TaskClass,
    ...rest: EnqueueArguments<PayloadOf<TaskClass>, EnqueueOptions>
  ): Promise<Enqueued>;
  async enqueue(
    task: BackgroundTaskClass | string,
    payload?: unknown,
    options: EnqueueOptions = noOptions,
  ): Promise<Enqueued> {
    // An application that waits for this call waits for each line of it.
    if (options !== noOptions) checkEnqueueOptions('enqueue', options);
    const target = this.target(task);
    const payloads = target.options.schema ? await validPayloads(target, [payload]) : [payload];
    const [prepared] = prepareTasks(target, payloads, options, this.options.maxPayloadBytes);
    if (!prepared) throw new Error('One payload gives one task.');
    const scope: unknown = options.manager ?? this.store.ambientScope();
    return this.enqueuer.enqueue(prepared, scope);
  }

  /** The same for a task by its name. */
  enqueueMany(task: string, payloads: readonly unknown[], options?: EnqueueManyOptions): Promise<Enqueued[]>;
  /**
   * Stores a task for each payload, all or none: in the caller's transaction, or in one of its own.
   *
   * @returns One result a payload, in their order.
   * @throws As `enqueue` does.
   */
  enqueueMany<TaskClass extends BackgroundTaskClass>(
    task: TaskClass,
    payloads: readonly PayloadOf<TaskClass>[],
    options?: EnqueueManyOptions,
  ): Promise<Enqueued[]>;
  async enqueueMany(
    task: BackgroundTaskClass | string,
    payloads: readonly unknown[],
    options: EnqueueManyOptions = noOptions,
  ): Promise<Enqueued[]> {
    checkEnqueueOptions('enqueueMany', options);
    if (!Array.isArray(payloads)) throw new InvalidOptionsError('TaskQueue.enqueueMany: payloads must be an array.');
    const target = this.target(task);
    // What the caller does to the array from now on changes nothing.
    const valid = target.options.schema ? await validPayloads(target, payloads) : payloads;
    const prepared = prepareTasks(target, valid, options, this.options.maxPayloadBytes);
    const scope: unknown = options.manager ?? this.store.ambientScope();
    return this.enqueuer.enqueueMany(prepared, scope);
  }

  /** The task with this id, live or finished and kept; null when there is none. */
  find<Payload = unknown>(id: string): Promise<Task<Payload> | null> {
    return this.asking('find a task', () => this.store.find(id)) as Promise<Task<Payload> | null>;
  }

  /**
   * Live and kept tasks, page by page.
   *
   * @throws InvalidOptionsError for an unknown filter, a bad limit or an `after` that no page gave.
   */
  async list(filter: TaskFilter = {}, page: PageRequest = {}): Promise<TaskPage> {
    checkFilter(filter);
    checkPage(page);
    return this.asking('list tasks', () => this.store.list(filter, page));
  }

  /**
   * How many tasks there are in each state, of one queue or of all. Finished tasks that are not kept do not count.
   *
   * @throws InvalidOptionsError for what can be no queue's name.
   */
  async counts(queue?: string): Promise<TaskCounts> {
    if (queue !== undefined) checkName('The queue to count', queue, maxNameLength);
    return this.asking('count tasks', () => this.store.counts(queue));
  }

  /**
   * Cancels a task: a ready one at once; a running one by its `signal`, which aborts in whatever process it runs.
   *
   * @returns False when no live task has this id.
   */
  async cancel(id: string): Promise<boolean> {
    return this.asking('cancel a task', async () => {
      const task = await this.store.find(id);
      const outcome = await this.store.cancel(id, (queue) => keepMs(this.retentionOf(queue), TaskState.cancelled));
      // A running one is told of by the process that runs it.
      if (task && outcome === 'cancelled') this.events.emit('cancelled', { id, name: task.name, queue: task.queue });
      return outcome !== 'notLive';
    });
  }

  /**
   * Puts a failed or cancelled task back to its queue, due now, with all its retries. Its attempts go on counting.
   *
   * @returns False when no kept task with this id has failed or was cancelled.
   * @throws UniqueKeyTakenError when a live task holds its unique key.
   */
  async retry(id: string): Promise<boolean> {
    const found = await this.asking('retry a task', () => this.store.retry(id));
    if (found) this.pool.wake();
    return found;
  }

  /**
   * Deletes a task that is not running.
   *
   * @returns False when there is none with this id, or it runs: cancel it first.
   */
  remove(id: string): Promise<boolean> {
    return this.asking('remove a task', () => this.store.remove(id));
  }

  /** The same for a task by its id alone; its result's type is not known then. */
  result<Result = unknown>(id: string, options?: ResultOptions): Promise<Result>;
  /**
   * Waits until a task is done, in whatever process, and gives what its handler returned, as JSON brings it back. Stored
   * are the results of tasks with `keepResult: true`, and of all on queues that keep all.
   *
   * @param task The class of the task: its result's type is inferred.
   * @param options.timeoutMs How long to wait. @default 30_000
   * @throws TaskFailedError, with the error of its last attempt; TaskCancelledError; ResultNotKeptError, for the
   * class of a task that is known to keep none whether it has ended or not; TaskNotFoundError when it is not there, for instance not committed; ResultTimeoutError when it has not ended in time.
   */
  result<TaskClass extends BackgroundTaskClass>(
    task: TaskClass,
    id: string,
    options?: ResultOptions,
  ): Promise<ResultOf<TaskClass>>;
  async result(
    ...given: [id: string, options?: ResultOptions] | [task: BackgroundTaskClass, id: string, options?: ResultOptions]
  ): Promise<unknown> {
    if (typeof given[0] !== 'function') return this.results.result(given[0], (given[1] ?? {}) as ResultOptions);
    const [task, id, options = {}] = given as [BackgroundTaskClass, string, ResultOptions?];
    const { name } = this.target(task);
    return this.results.result(id, options, { name, options: backgroundTaskOf(task)?.options ?? {} });
  }

  /**
   * Cancels every ready and running task that matches, in batches of 500, each in a transaction of its own; running ones
   * by their `signal`. Like those below, it leaves alone what is enqueued after it began; when it fails midway, what it
   * has done stays done.
   *
   * @param filter `{}` for all tasks. `state` may be ready or running.
   * @returns How many: those that ended, and those that were asked to.
   * @throws InvalidOptionsError for a missing or bad filter; nothing has changed then.
   */
  cancelMany(filter: BulkFilter<'ready' | 'running'>): Promise<number> {
    return this.asking('cancel tasks', () => this.bulk.cancelMany(filter));
  }

  /**
   * Puts every failed and cancelled task that matches back, as `retry` does. Dead letters are left alone: `redrive` them.
   *
   * @param filter `{}` for all tasks. `state` may be failed or cancelled.
   * @returns How many went back. A task whose unique key a live one holds stays as it is, and does not count.
   */
  async retryMany(filter: BulkFilter<'failed' | 'cancelled'>): Promise<number> {
    const count = await this.asking('retry tasks', () => this.bulk.retryMany(filter));
    this.pool.wake();
    return count;
  }

  /**
   * Deletes every task that matches and does not run, dead letters included.
   *
   * @param filter `{}` for all tasks. `state` may be ready, done, failed or cancelled.
   * @returns How many are gone.
   */
  removeMany(filter: BulkFilter<'ready' | 'done' | 'failed' | 'cancelled'>): Promise<number> {
    return this.asking('remove tasks', () => this.bulk.removeMany(filter));
  }

  /**
   * Sends dead letters back to the queues that they came from, due now, with all their retries.
   *
   * @param queue Where they lie: the `deadLetter` of their tasks.
   * @returns How many went back. A task whose unique key a live one holds stays, and does not count.
   * @throws InvalidOptionsError for a bad filter, or one that would send the queue back to itself.
   */
  async redrive(queue: string, filter: RedriveFilter = {}): Promise<number> {
    const count = await this.asking('redrive tasks', () => this.bulk.redrive(queue, filter));
    this.pool.wake();
    return count;
  }

  /** Lets no process start tasks of this queue, now and after restarts; what runs goes on. */
  async pause(queue: string): Promise<void> {
    checkName('The queue to pause', queue, maxNameLength);
    await this.asking('pause a queue', () => this.store.pause(queue));
  }

  /** Ends a pause. */
  async resume(queue: string): Promise<void> {
    checkName('The queue to resume', queue, maxNameLength);
    await this.asking('resume a queue', () => this.store.resume(queue));
    this.pool.wake(queue);
  }

  /** The queues that are paused. */
  pausedQueues(): Promise<readonly string[]> {
    return this.asking('list the paused queues', () => this.store.pausedQueues());
  }

  /**
   * Lets no process start tasks of this name, on whatever queue, after restarts too; what runs goes on. This process obeys
   * when the promise resolves, all others within a second.
   */
  async pauseTask(name: string): Promise<void> {
    await this.asking('pause a task', () => this.controls.pause(name));
    await this.pool.lookAtControl();
  }

  /** Ends a pause. */
  async resumeTask(name: string): Promise<void> {
    await this.asking('resume a task', () => this.controls.resume(name));
    await this.pool.lookAtControl();
  }

  /** The names of the tasks that are paused. */
  pausedTasks(): Promise<readonly string[]> {
    return this.asking('list the paused tasks', () => this.controls.paused());
  }

  /**
   * Changes a queue's limits for all processes, now and after restarts and deployments: what is set here wins over what
   * applications declare until it is taken back by `null`. What is left out stays. When a limit gets lower, what runs goes
   * on.
   *
   * @throws InvalidOptionsError, also when nothing is to change.
   */
  async setLimits(queue: string, changes: LimitChanges): Promise<void> {
    await this.asking('set the limits of a queue', () => this.controls.setLimits(queue, changes));
    await this.pool.lookAtControl();
  }

  /** A queue's limits as they hold now, declared or set at run time. */
  limits(queue: string): Promise<QueueLimits> {
    return this.asking('read the limits of a queue', () => this.controls.limits(queue));
  }

  /**
   * Forgets the rate limit that was declared of a task, for all processes: of one that was removed or renamed it would stay,
   * and with it the queue of the task would be a limited one. The next start of a process that declares it brings it back.
   *
   * @throws InvalidOptionsError
   */
  async forgetTaskLimit(name: string): Promise<void> {
    await this.asking('forget the limit of a task', () => this.controls.forgetTaskLimit(name));
    await this.pool.lookAtControl();
  }

  /** The same for a task by its name. */
  pauseKey(task: string, key: string, options?: KeyOptions): Promise<void>;
  /**
   * Lets no process start tasks of this concurrency key, now and after restarts; what runs goes on.
   *
   * @param key As the task's `concurrencyKey` makes it, or as calls give it, also of a task that makes none.
   * @param options.queue @default the task's own
   * @throws ConcurrencyKeyError for what can be no key; InvalidOptionsError for a bad option.
   */
  pauseKey(task: BackgroundTaskClass, key: string, options?: KeyOptions): Promise<void>;
  async pauseKey(task: BackgroundTaskClass | string, key: string, options: KeyOptions = {}): Promise<void> {
    await this.asking('pause a key', () => this.keys.pause(this.target(task), key, options));
  }

  /** The same for a task by its name. */
  resumeKey(task: string, key: string, options?: KeyOptions): Promise<void>;
  /** Ends a pause of a key. */
  resumeKey(task: BackgroundTaskClass, key: string, options?: KeyOptions): Promise<void>;
  async resumeKey(task: BackgroundTaskClass | string, key: string, options: KeyOptions = {}): Promise<void> {
    await this.asking('resume a key', () => this.keys.resume(this.target(task), key, options));
  }

  /** The concurrency keys that are paused. */
  pausedKeys(): Promise<PausedKey[]> {
    return this.asking('list the paused keys', () => this.keys.paused());
  }

  /** The same for a task by its name. */
  schedule(name: string, task: string, options: ScheduleOptions): Promise<void>;
  /**
   * Makes or changes a schedule: each tick of it enqueues one task, whatever number of processes run. Calling it again
   * with the same options changes nothing, so that it may be called at each start.
   *
   * @param name 1 to 128 characters, unique among all schedules.
   * @param task A decorated class, or the name of a task. Its payload gets `tick`: the tick's time as an ISO string.
   * @throws InvalidScheduleError for a pattern that cannot be read or never ticks, or an unknown time zone;
   * ScheduleDeclaredError when a class declares a schedule of this name; and as `enqueue` does for the payload.
   */
  schedule<TaskClass extends BackgroundTaskClass>(
    name: string,
    task: TaskClass,
    options: ScheduleOptions<PayloadOf<TaskClass>>,
  ): Promise<void>;
  async schedule(name: string, task: BackgroundTaskClass | string, options: ScheduleOptions): Promise<void> {
    const target = this.target(task);
    await this.asking('store a schedule', () => this.schedulesOf.schedule(name, target, options));
    this.pool.wakeScheduler();
  }

  /**
   * Removes a schedule; tasks that it has enqueued stay.
   *
   * @returns False when there is none of this name.
   * @throws ScheduleDeclaredError when a class of this application declares it. One that no application declares any more
   * ticks no more, and can be removed.
   */
  async unschedule(name: string): Promise<boolean> {
    checkScheduleName(name);
    return this.asking('remove a schedule', () => this.schedulesOf.unschedule(name));
  }

  /** All schedules, in the order of their names. */
  schedules(): Promise<ScheduleInfo[]> {
    return this.asking('list the schedules', () => this.schedulesOf.list());
  }

  /**
   * Lets a schedule tick no more, now and after restarts and deployments.
   *
   * @throws UnknownScheduleError
   */
  async pauseSchedule(name: string): Promise<void> {
    checkScheduleName(name);
    return this.asking('pause a schedule', () => this.schedulesOf.pause(name));
  }

  /**
   * Ends a pause. Ticks that passed meanwhile are left out.
   *
   * @throws UnknownScheduleError
   */
  async resumeSchedule(name: string): Promise<void> {
    checkScheduleName(name);
    await this.asking('resume a schedule', () => this.schedulesOf.resume(name));
    this.pool.wakeScheduler();
  }

  /**
   * Enqueues a task of this schedule now, beside those of its ticks, even while it is paused.
   *
   * @throws UnknownScheduleError
   */
  async runNow(name: string): Promise<Enqueued> {
    checkScheduleName(name);
    const task = await this.asking('run a schedule', () => this.schedulesOf.extra(name));
    return this.enqueuer.enqueue(task, undefined);
  }

  private target(task: unknown): TaskTarget {
    if (typeof task === 'string') {
      checkName('The name of the task', task, maxNameLength);
      const definition = this.registry.declarationOf(task);
      const known = definition !== undefined;
      return { name: task, options: definition ?? {}, known, priority: this.options.task.priority };
    }
    const known = this.targets.get(task as BackgroundTaskClass);
    if (known) return known;
    const metadata = backgroundTaskOf(task);
    if (!metadata) throw new UnknownTaskError(nameOf(task));
    const instance = metadata.options.instance ?? defaultInstance;
    if (instance !== this.options.instance) {
      throw new UnknownTaskError(nameOf(task), instance);
    }
    const target = { ...metadata, known: true, priority: this.options.task.priority };
    this.targets.set(task as BackgroundTaskClass, target);
    return target;
  }

  /** What the driver says of a database that does not answer becomes an error of ours. */
  private async asking<Result>(doing: string, ask: () => Promise<Result>): Promise<Result> {
    try {
      return await ask();
    } catch (error) {
      // What was refused before anything was asked may speak of timeouts too.
      const refused = isInstance(error, BackieError);
      throw !refused && this.store.isTransient(error) ? new StoreUnavailableError(doing, error) : error;
    }
  }

  private retentionOf(queue: string): Retention {
    return this.options.queues.find(({ name }) => name === queue)?.retention ?? this.options.retention;
  }
}

function nameOf(task: unknown): string {
  return typeof task === 'function' ? `The class ${task.name || '(anonymous)'}` : `The given task (${shown(task)})`;
}

function checkScheduleName(name: unknown): void {
  checkName('The name of the schedule', name, maxNameLength);
}
