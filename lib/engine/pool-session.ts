import { hostname } from 'node:os';
import { Audit } from './audit.js';
import { Controller } from './controller.js';
import { declarationsOf } from './declarations.js';
import { within } from './delay.js';
import type { Execution } from './execution.js';
import type { Grace } from './grace.js';
import type { Lease, WorkerIdentity } from './lease.js';
import { LeaseHolder } from './lease-holder.js';
import { LeaseSustainer } from './lease-sustainer.js';
import { LoopWatch, tickMs } from './loop-watch.js';
import { Maintenance } from './maintenance.js';
import type { WorkerPoolOptions } from './pool-options.js';
import type { QueueStatus } from './pool-status.js';
import { QueueWorker } from './queue-worker.js';
import { Scheduler, type Scheduling } from './scheduler.js';
import { Settler } from './settler.js';
import type { SlotReservation } from './slot-reservation.js';
import type { Listening, StoreHint } from './store-hint.js';
import { Suspects } from './suspects.js';
import type { TaskDefinition } from './task-definition.js';
import type { EngineReporter } from './task-event.js';
import type { TaskStore } from './task-store.js';
import type { Troubles } from './troubles.js';

/** A wish to cancel whose hint was lost is found within a second: this, and the time of the look itself. */
const auditEveryMs = 500;

/**
 * Together with the store's own, these bounds keep a shutdown within the grace and five seconds, even if PostgreSQL does
 * not answer: a claim that is still under way, and the writes after the grace.
 */
const lastClaimMs = 500;
const lastWritesMs = 2_500;

/**
 * A worker pool from its start to the end of its drain: all that lives exactly so long, wired together.
 *
 * What cannot be ended in time goes on when the pool has stopped waiting for it, and may see the next start: so a
 * session knows nothing of the pool, and each start has one of its own.
 */
export class PoolSession {
  private readonly workers: readonly QueueWorker[];
  private readonly settler: Settler;
  private readonly holder: LeaseHolder;
  private readonly sustainer: LeaseSustainer;
  private readonly controller: Controller;
  private readonly audit: Audit;
  private readonly maintenance: Maintenance;
  private readonly scheduler: Scheduler | undefined;
  private listening: Listening | undefined;
  private loop: LoopWatch | undefined;
  private tick: NodeJS.Timeout | undefined;
  private auditTick: NodeJS.Timeout | undefined;

  constructor(
    private readonly store: TaskStore,
    private readonly tasks: ReadonlyMap<string, TaskDefinition>,
    private readonly options: WorkerPoolOptions,
    private readonly reporter: EngineReporter,
    troubles: Troubles,
    scheduling: Scheduling | undefined,
  ) {
    // Any registered task may be enqueued on any queue, so every queue is worked, unless there is nothing to run at all.
    const busy = tasks.size > 0 ? options.queues : [];
    const failed = (doing: string, error: unknown) => {
      // Whatever failed without an answer may have happened all the same.
      this.audit.suspect();
      troubles.report(doing, error);
    };
    const hinted = () => this.notified;
    const answered = () => troubles.over();
    const wake = (queue: string) => this.wake(queue);
    const settler = (this.settler = new Settler(store, failed));
    const holder = (this.holder = new LeaseHolder(store, options, () => this.identity(), {
      lost: (lease) => this.lost(lease),
      weakened: (reason) => reporter.log('warn', reason),
      failed,
    }));
    const sustainer = (this.sustainer = new LeaseSustainer(() => holder.lease, options.leaseMs));
    const controller = (this.controller = new Controller(
      store.control,
      hinted,
      () => this.running,
      (control) => {
        for (const worker of this.workers) worker.apply(control);
      },
      failed,
    ));
    this.maintenance = new Maintenance(store, tasks, options, reporter, { answered, rescued: wake }, failed);
    const context = {
      store,
      settler,
      lanes: this.maintenance.lanes,
      suspects: new Suspects(options.maxCrashes - 1, () => {
        for (const worker of this.workers) worker.lookForSuspects();
      }),
      reporter,
      lease: () => holder.held(),
      hinted,
      starting: (execution: Execution) => {
        controller.starting();
        sustainer.starting(execution.deadline);
      },
      answered,
      failed,
    };
    this.workers = busy.map((queue) => new QueueWorker(queue, tasks, context));
    this.audit = new Audit(store, settler, this.workers, () => holder.lease, failed);
    this.scheduler = scheduling && new Scheduler(store.schedules, scheduling, reporter, failed, wake);
  }

  get lease(): Lease | undefined {
    return this.holder.lease;
  }

  /** Whether hints of other processes arrive. */
  get notified(): boolean {
    return this.listening?.live ?? false;
  }

  /** By how many milliseconds the event loop was late within the last second. */
  get loopLagMs(): number {
    return this.loop?.lagMs ?? 0;
  }

  get queues(): QueueStatus[] {
    return this.workers.map(({ queue, concurrency, running, prefetched }) => {
      return { name: queue.name, concurrency, running, prefetched };
    });
  }

  /** Registers the process as a worker of its queues. Rejects when that fails. */
  async register(): Promise<void> {
    // Limits hold from the first claim on.
    await this.store.control.declare(declarationsOf(this.options.queues, this.tasks));
    await this.controller.prime();
    await this.holder.begin();
  }

  /** Starts everything, claims last. */
  async begin(): Promise<void> {
    this.controller.start();
    this.listening = await this.store.listen((hint) => this.take(hint));
    await this.maintenance.start();
    this.loop = new LoopWatch(this.options.leaseMs, this.reporter);
    this.tick = setInterval(() => this.onTick(), tickMs).unref();
    this.auditTick = setInterval(() => void this.audit.check(), auditEveryMs).unref();
    await this.scheduler?.start();
    this.resume();
    this.logStart();
  }

  /** Makes claims again. */
  resume(): void {
    for (const worker of this.workers) worker.start();
    void this.scheduler?.start();
  }

  /** Makes no more claims. */
  async stopClaiming(): Promise<void> {
    // What a claim brings that comes back later still goes straight back to its queue.
    await within(lastClaimMs, Promise.all([this.scheduler?.stop(), ...this.workers.map((worker) => worker.stop())]));
  }

  /** Waits for what runs as long as the grace lasts, gives the rest back, and ends all. */
  async finish(grace: Grace): Promise<void> {
    const { running } = this;
    await Promise.race([grace.over, Promise.all(this.workers.map((worker) => worker.finished()))]);
    const unfinished = this.running;
    for (const worker of this.workers) worker.interrupt();
    await this.leave();
    this.reporter.log(
      'log',
      `Stopped: ${running - unfinished} running tasks finished, ${unfinished} went back to their queues.`,
    );
  }

  wake(queue?: string, inMs = 0, count?: number): void {
    for (const worker of this.workers) {
      if (queue === undefined || worker.queue.name === queue) worker.wakeIn(inMs, count);
    }
  }

  wakeScheduler(): void {
    this.scheduler?.wake();
  }

  lookAtControl(): Promise<void> {
    return this.controller.look();
  }

  reserve(queue: string, name: string): SlotReservation | undefined {
    const { lease } = this;
    const worker = this.workers.find((one) => one.queue.name === queue);
    if (!worker || !lease || lease.remainingMs() <= 0) return undefined;
    const since = worker.reserve(name);
    if (since === undefined) return undefined;
    return {
      workerId: lease.workerId,
      early: !this.tasks.get(name)?.transaction,
      accept: (task, answer) => worker.accept(since, task, lease, answer),
      decline: () => worker.decline(since),
      unanswered: () => this.audit.suspect(),
    };
  }

  private get running(): number {
    return this.workers.reduce((sum, worker) => sum + worker.running, 0);
  }

  /** Ends all, when what runs has finished; also what has begun only in part. */
  async leave(): Promise<void> {
    // Writes that cannot be made now are made good by the lease: another process rescues those tasks.
    await within(lastWritesMs, this.endAll());
  }

  private async endAll(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.finished()));
    await Promise.all(this.workers.map((worker) => worker.answered()));
    await this.settler.idle();
    clearInterval(this.tick);
    clearInterval(this.auditTick);
    this.controller.stop();
    await Promise.allSettled([
      this.scheduler?.stop(),
      this.maintenance.stop(),
      this.listening?.stop(),
      this.holder.end(),
    ]);
  }

  private take(hint: StoreHint): void {
    switch (hint.kind) {
      case 'wake':
        // After a new connection: whatever was told before it may have been missed.
        if (hint.queue === undefined) void this.lookAtControl();
        return this.wake(hint.queue, hint.inMs, hint.count);
      case 'cancel':
        return this.audit.cancelRequested(hint.id);
      case 'schedule':
        return this.wakeScheduler();
      case 'control':
        void this.lookAtControl();
        return;
      case 'buried':
        if (this.lease?.workerId === hint.workerId) this.lease.lose();
        return;
      case 'ended':
        // For whoever awaits results.
        return;
      case 'deaf':
        this.reporter.log('warn', `New work is found by polling only: ${hint.reason}.`);
    }
  }

  private lost(lease: Lease): void {
    this.reporter.log('warn', `The lease of worker ${lease.workerId} is lost; its running tasks are given up.`);
    this.sustainer.lost();
    for (const worker of this.workers) worker.lose(lease);
    // Claims under the old lease found nothing, rescued tasks included: look again under the next one.
    this.wake();
  }

  private onTick(): void {
    const ended = this.workers.flatMap((worker) => worker.takeLongest() ?? []);
    this.loop?.tick([...ended, ...this.workers.flatMap((worker) => worker.runningTasks)]);
    this.sustainer.running(Math.max(performance.now(), ...this.workers.map((worker) => worker.latestDeadline)));
  }

  private identity(): WorkerIdentity {
    return {
      id: this.options.newId(),
      host: hostname(),
      pid: process.pid,
      version: this.options.version,
      queues: this.workers.map(({ queue }) => queue.name),
    };
  }

  private logStart(): void {
    const queues = this.workers.map(({ queue }) => `${queue.name} (${queue.concurrency})`).join(', ');
    const names = [...this.tasks.keys()].join(', ');
    this.reporter.log(
      'log',
      `Working on ${queues || 'no queue'}; tasks: ${names || 'none'}; ${this.store.description}`,
    );
  }
}
