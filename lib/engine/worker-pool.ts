import { hostname } from 'node:os';
import { maxTimerMs } from './delay.js';
import { Controller } from './controller.js';
import type { Execution } from './execution.js';
import { Expirer } from './expirer.js';
import { Grace } from './grace.js';
import { LaneKeeper } from './lane-keeper.js';
import { LeaseHolder } from './lease-holder.js';
import type { DeclaredLimits } from './limits.js';
import { LoopWatch, tickMs } from './loop-watch.js';
import { type Pruner, prunerOf } from './pruner.js';
import { QueueWorker } from './queue-worker.js';
import { Rescuer } from './rescuer.js';
import { keepMs, type Retention } from './retention.js';
import { Scheduler, type Scheduling } from './scheduler.js';
import { Settler } from './settler.js';
import { Suspects } from './suspects.js';
import type { ClaimedTask, FinishedState } from './task.js';
import type { QueueDefinition, TaskDefinition } from './task-definition.js';
import type { EngineReporter } from './task-event.js';
import { Audit } from './audit.js';
import type { LeaseTerms, Listening, StoreHint, TaskStore } from './task-store.js';
import { type Trouble, Troubles } from './troubles.js';

export interface WorkerPoolOptions extends LeaseTerms {
  readonly queues: readonly QueueDefinition[];
  /** Of queues that are not configured here. */
  readonly retention: Retention;
  readonly shutdownGraceMs: number;
  /** A task that was held by this many workers when they died fails as quarantined. */
  readonly maxCrashes: number;
  readonly version: string;
  readonly newId: () => string;
}

/** A wish to cancel whose hint was lost is found within a second: this, and the time of the look itself. */
const auditEveryMs = 500;

/** A slot that is kept for a task about to be enqueued. */
export interface SlotReservation {
  readonly workerId: string;
  accept(task: ClaimedTask): void;
  /** @param unsure The enqueue failed without an answer: the task may be there, and claimed. */
  decline(unsure: boolean): void;
}

export type PoolState = 'stopped' | 'running' | 'stopping' | 'draining';

/** A look at a pool. */
export interface WorkerPoolStatus {
  readonly state: PoolState;
  /** This process as a worker, or null while it holds no lease. */
  readonly workerId: string | null;
  /** Milliseconds left of the lease that covers the running tasks, or null. */
  readonly leaseRemainingMs: number | null;
  /** Milliseconds since the lease was renewed, at most half a second more, or null. Beyond heartbeatMs renewals fail. */
  readonly leaseAgeMs: number | null;
  /** By how many milliseconds the event loop was late within the last second. */
  readonly loopLagMs: number;
  /** Whether the store has answered since its latest failure. */
  readonly connection: 'up' | 'down';
  /** Whether hints of other processes arrive; without them new work is found by polling. */
  readonly notified: boolean;
  readonly queues: readonly {
    readonly name: string;
    /** How many run at once here: as declared, or as set at run time. */
    readonly concurrency: number;
    readonly running: number;
    readonly prefetched: number;
  }[];
  /** The latest failure of the store, or null; the pool goes on trying. */
  readonly lastError: Trouble | null;
}

/**
 * Together with the store's own, these bounds keep a shutdown within the grace and five seconds, even if PostgreSQL does
 * not answer: a claim that is still under way, and the writes after the grace.
 */
const lastClaimMs = 500;
const lastWritesMs = 2_500;

/** The first look comes before the first task: what it makes ready should be, but nothing depends on it. */
const firstPruneMs = 500;

/**
 * The process as a worker: claims, runs and settles the tasks of every configured queue that has registered tasks.
 *
 * It starts and drains with Nest's lifecycle. With `workers: false` it stays stopped until `start()` is called by hand.
 */
export class WorkerPool {
  private state: PoolState = 'stopped';
  private transition: Promise<void> = Promise.resolve();
  private workers: readonly QueueWorker[] = [];
  private settler: Settler | undefined;
  private holder: LeaseHolder | undefined;
  private rescuer: Rescuer | undefined;
  private expirer: Expirer | undefined;
  private pruner: Pruner | undefined;
  private audit: Audit | undefined;
  private lanes: LaneKeeper | undefined;
  private scheduler: Scheduler | undefined;
  private controller: Controller | undefined;
  private listening: Listening | undefined;
  private tick: NodeJS.Timeout | undefined;
  private auditTick: NodeJS.Timeout | undefined;
  /** Of the drains that are under way or wait for their turn. */
  private readonly graces = new Set<Grace>();
  private sustainedUntil = 0;
  private loop: LoopWatch | undefined;
  private readonly troubles: Troubles;

  constructor(
    private readonly store: TaskStore,
    private readonly tasks: () => ReadonlyMap<string, TaskDefinition>,
    private readonly options: WorkerPoolOptions,
    private readonly reporter: EngineReporter,
    private readonly scheduling?: Scheduling,
  ) {
    this.troubles = new Troubles(reporter);
  }

  /** Starts claiming. Does nothing when it runs already. */
  start(): Promise<void> {
    return this.next(async () => {
      if (this.state === 'running') return;
      if (this.state === 'stopping') this.resume();
      else await this.begin();
      this.state = 'running';
    });
  }

  /** Stops claiming; what runs goes on, with its lease renewed. Does nothing when no claims are made. */
  stop(): Promise<void> {
    return this.next(() => this.stopClaiming());
  }

  /**
   * Stops claiming, waits for what runs, then aborts the rest and gives it back to its queues without using up a retry.
   * Resolves when nothing runs and every outcome is recorded. Does nothing when the pool is stopped.
   *
   * @param options.graceMs How long running tasks may take, in milliseconds; when a drain is under way already, this may
   * shorten its grace. @default the module's shutdownGraceMs
   */
  async drain(options: { readonly graceMs?: number } = {}): Promise<void> {
    const graceMs = options.graceMs ?? this.options.shutdownGraceMs;
    for (const earlier of this.graces) earlier.shorten(graceMs);
    const grace = new Grace(graceMs);
    this.graces.add(grace);
    // One step: a start that is called meanwhile must not come between.
    await this.next(async () => {
      if (this.state === 'stopped') return;
      await this.stopClaiming();
      this.state = 'draining';
      await this.finish(grace);
      this.state = 'stopped';
    }).finally(() => {
      grace.clear();
      this.graces.delete(grace);
    });
  }

  status(): WorkerPoolStatus {
    const lease = this.holder?.lease;
    return {
      state: this.state,
      workerId: lease?.workerId ?? null,
      leaseRemainingMs: lease ? Math.max(0, lease.remainingMs()) : null,
      leaseAgeMs: lease ? Math.max(0, this.options.leaseMs - lease.remainingMs()) : null,
      loopLagMs: this.loop?.lagMs ?? 0,
      connection: this.troubles.lasting ? 'down' : 'up',
      notified: this.listening?.live ?? false,
      queues: this.workers.map(({ queue, concurrency, running, prefetched }) => {
        return { name: queue.name, concurrency, running, prefetched };
      }),
      lastError: this.troubles.latest,
    };
  }

  /** A schedule was made, changed or resumed. */
  wakeScheduler(): void {
    this.scheduler?.wake();
  }

  /** Limits or pauses were changed here. */
  lookAtControl(): void {
    void this.controller?.look();
  }

  /** Something may be due on this queue in `inMs` milliseconds; without a queue, on any. */
  wake(queue?: string, inMs = 0): void {
    for (const worker of this.workers) {
      if (queue === undefined || worker.queue.name === queue) worker.wakeIn(inMs);
    }
  }

  /**
   * Keeps a free slot for a task that is about to be enqueued, when this process would run it at once anyway. The task
   * is then stored as claimed already. Give the slot back by `accept` or `decline`.
   */
  reserve(queue: string, name: string): SlotReservation | undefined {
    const lease = this.holder?.lease;
    const worker = this.workers.find((one) => one.queue.name === queue);
    if (!worker || !lease || lease.remainingMs() <= 0) return undefined;
    const since = worker.reserve(name);
    if (since === undefined) return undefined;
    return {
      workerId: lease.workerId,
      accept: (task) => worker.accept(since, task, lease),
      decline: (unsure) => {
        worker.decline(since);
        if (unsure) this.audit?.suspect();
      },
    };
  }

  /** Start, stop and drain follow each other, whoever calls them when. */
  private next(step: () => Promise<void>): Promise<void> {
    const done = this.transition.then(step);
    this.transition = done.catch(() => {});
    return done;
  }

  private async begin(): Promise<void> {
    const tasks = this.tasks();
    // Any registered task may be enqueued on any queue, so every queue is worked, unless there is nothing to run at all.
    const busy = tasks.size > 0 ? this.options.queues : [];
    const failed = (doing: string, error: unknown) => {
      // Whatever failed without an answer may have happened all the same.
      this.audit?.suspect();
      this.troubles.report(doing, error);
    };
    const settler = new Settler(this.store, failed);
    const holder = new LeaseHolder(this.store, this.options, () => this.identity(busy), {
      lost: (lease) => {
        this.reporter.log('warn', `The lease of worker ${lease.workerId} is lost; its running tasks are given up.`);
        this.sustainedUntil = 0;
        for (const worker of this.workers) worker.lose(lease);
        // Claims under the old lease found nothing, rescued tasks included: look again under the next one.
        this.wake();
      },
      weakened: (reason) => this.reporter.log('warn', reason),
      failed,
    });
    const controller = new Controller(
      this.store.control,
      () => this.listening?.live ?? false,
      () => this.running(),
      (control) => {
        for (const worker of this.workers) worker.apply(control);
      },
      failed,
    );
    // Limits hold from the first claim on.
    await this.declare(tasks);
    await controller.prime();
    await holder.begin();
    this.controller = controller;
    this.sustainedUntil = 0;
    this.settler = settler;
    this.holder = holder;
    const lanes = (this.lanes = new LaneKeeper(this.store, this.options.heartbeatMs, failed));
    const context = {
      store: this.store,
      settler,
      lanes,
      suspects: new Suspects(this.options.maxCrashes - 1, () => {
        for (const worker of this.workers) worker.lookForSuspects();
      }),
      reporter: this.reporter,
      lease: () => holder.held(),
      hinted: () => this.listening?.live ?? false,
      starting: (execution: Execution) => {
        controller.starting();
        this.sustain(execution);
      },
      answered: () => this.troubles.over(),
      failed,
    };
    this.workers = busy.map((queue) => new QueueWorker(queue, tasks, context));
    this.audit = new Audit(this.store, settler, this.workers, () => holder.lease, failed);
    controller.start();
    this.listening = await this.store.listen((hint) => this.take(hint));
    const keep = (state: FinishedState) =>
      new Map(this.options.queues.map(({ name, retention }) => [name, keepMs(retention, state)]));
    this.rescuer = new Rescuer(
      this.store,
      this.options.heartbeatMs,
      {
        leaseMs: this.options.leaseMs,
        maxCrashes: this.options.maxCrashes,
        keepFailedMs: keep('failed'),
        keepOthersMs: keepMs(this.options.retention, 'failed'),
        deadLetters: deadLettersOf(tasks),
      },
      this.reporter,
      failed,
      { answered: () => this.troubles.over(), rescued: (queue) => this.wake(queue) },
    );
    this.rescuer.start();
    this.expirer = new Expirer(
      this.store,
      this.options.heartbeatMs,
      { keepCancelledMs: keep('cancelled'), keepOthersMs: keepMs(this.options.retention, 'cancelled') },
      this.reporter,
      failed,
    );
    this.expirer.start();
    lanes.start();
    this.pruner = prunerOf(this.store, this.options, this.reporter, failed);
    await within(firstPruneMs, this.pruner.start());
    this.loop = new LoopWatch(this.options.leaseMs, this.reporter);
    this.tick = setInterval(() => this.onTick(), tickMs).unref();
    this.auditTick = setInterval(() => void this.audit?.check(), auditEveryMs).unref();
    if (this.scheduling) {
      const wake = (queue: string) => this.wake(queue);
      this.scheduler = new Scheduler(this.store.schedules, this.scheduling, this.reporter, failed, wake);
      await this.scheduler.start();
    }
    this.resume();
    this.logStart(tasks);
  }

  private resume(): void {
    for (const worker of this.workers) worker.start();
    void this.scheduler?.start();
  }

  private async stopClaiming(): Promise<void> {
    if (this.state !== 'running') return;
    this.state = 'stopping';
    // What a claim brings that comes back later still goes straight back to its queue.
    await within(lastClaimMs, Promise.all([this.scheduler?.stop(), ...this.workers.map((worker) => worker.stop())]));
  }

  private async finish(grace: Grace): Promise<void> {
    const running = this.running();
    await Promise.race([grace.over, Promise.all(this.workers.map((worker) => worker.finished()))]);
    const unfinished = this.running();
    for (const worker of this.workers) worker.interrupt();
    // Writes that cannot be made now are made good by the lease: another process rescues those tasks.
    await within(lastWritesMs, this.leave());
    this.workers = [];
    this.settler = this.holder = this.rescuer = this.expirer = this.pruner = this.audit = this.lanes = undefined;
    this.scheduler = this.controller = this.listening = undefined;
    this.reporter.log(
      'log',
      `Stopped: ${running - unfinished} running tasks finished, ${unfinished} went back to their queues.`,
    );
  }

  private async leave(): Promise<void> {
    // It may go on after the pool has stopped waiting for it: what the pool holds then may be its next start's.
    const { workers, settler, lanes, tick, auditTick, rescuer, expirer, pruner, controller, listening, holder } = this;
    await Promise.all(workers.map((worker) => worker.finished()));
    await settler?.idle();
    clearInterval(tick);
    clearInterval(auditTick);
    controller?.stop();
    const helpers = [lanes, rescuer, expirer, pruner, listening].map((helper) => helper?.stop());
    await Promise.allSettled([...helpers, holder?.end()]);
  }

  private running(): number {
    return this.workers.reduce((sum, worker) => sum + worker.running, 0);
  }

  private take(hint: StoreHint): void {
    switch (hint.kind) {
      case 'wake':
        // After a new connection: whatever was told before it may have been missed.
        if (hint.queue === undefined) this.lookAtControl();
        return this.wake(hint.queue, hint.inMs);
      case 'cancel':
        return this.audit?.cancelRequested(hint.id);
      case 'schedule':
        return this.scheduler?.wake();
      case 'control':
        return this.lookAtControl();
      case 'buried':
        if (this.holder?.lease?.workerId === hint.workerId) this.holder.lease.lose();
        return;
      case 'ended':
        // For whoever awaits results.
        return;
      case 'deaf':
        this.reporter.log('warn', `New work is found by polling only: ${hint.reason}.`);
    }
  }

  private onTick(): void {
    const ended = this.workers.flatMap((worker) => worker.takeLongest() ?? []);
    this.loop?.tick([...ended, ...this.workers.flatMap((worker) => worker.runningTasks)]);
    this.sustainRunning();
  }

  /** The lease must outlive the longest attempt even if the event loop is blocked, but not a loop that never returns. */
  private sustain(execution: Execution): void {
    if (execution.deadline > this.sustainedUntil) this.sustainUntil(execution.deadline);
  }

  private sustainRunning(): void {
    this.sustainUntil(Math.max(performance.now(), ...this.workers.map((worker) => worker.latestDeadline)));
  }

  private sustainUntil(deadline: number): void {
    this.sustainedUntil = deadline;
    this.holder?.lease?.sustain(deadline - performance.now() + this.options.leaseMs);
  }

  private async declare(tasks: ReadonlyMap<string, TaskDefinition>): Promise<void> {
    const queues = new Map<string, DeclaredLimits>();
    for (const { name, limits } of this.options.queues) if (limits) queues.set(name, limits);
    const declared = [...tasks.values()].map(
      ({ name, queue, rateLimit = null }) => [name, { queue, rateLimit }] as const,
    );
    await this.store.control.declare({ queues, tasks: new Map(declared) });
  }

  private identity(queues: readonly QueueDefinition[]) {
    return {
      id: this.options.newId(),
      host: hostname(),
      pid: process.pid,
      version: this.options.version,
      queues: queues.map(({ name }) => name),
    };
  }

  private logStart(tasks: ReadonlyMap<string, TaskDefinition>): void {
    const queues = this.workers.map(({ queue }) => `${queue.name} (${queue.concurrency})`).join(', ');
    const names = [...tasks.keys()].join(', ');
    this.reporter.log(
      'log',
      `Working on ${queues || 'no queue'}; tasks: ${names || 'none'}; ${this.store.description}`,
    );
  }
}

/** Task name → queue of its dead letters, of those that have one. */
function deadLettersOf(tasks: ReadonlyMap<string, TaskDefinition>): Record<string, string> {
  return Object.fromEntries([...tasks].flatMap(([name, { deadLetter }]) => (deadLetter ? [[name, deadLetter]] : [])));
}

/** Waits for the promise, at most `ms` milliseconds. */
async function within(ms: number, promise: Promise<unknown> | undefined): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.min(ms, maxTimerMs));
  });
  await Promise.race([promise, timeout]);
  clearTimeout(timer);
}
