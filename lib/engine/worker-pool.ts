import { InvalidOptionsError } from '../errors/configuration.errors.js';
import { Grace } from './grace.js';
import type { WorkerPoolOptions } from './pool-options.js';
import { PoolSession } from './pool-session.js';
import type { PoolState, WorkerPoolStatus } from './pool-status.js';
import type { Scheduling } from './scheduler.js';
import type { SlotReservation } from './slot-reservation.js';
import type { TaskDefinition } from './task-definition.js';
import type { EngineReporter } from './task-event.js';
import type { TaskStore } from './task-store.js';
import { Troubles } from './troubles.js';

/**
 * The process as a worker: claims, runs and settles the tasks of every configured queue that has registered tasks.
 *
 * It starts and drains with Nest's lifecycle. With `workers: false` it stays stopped until `start()` is called by hand.
 */
export class WorkerPool {
  private state: PoolState = 'stopped';
  private transition: Promise<void> = Promise.resolve();
  /** From a start, as soon as the process is registered, to the end of a drain. */
  private session: PoolSession | undefined;
  /** Of the drains that are under way or wait for their turn. */
  private readonly graces = new Set<Grace>();
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
      if (this.state === 'stopping') this.session?.resume();
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
   * shorten its grace. Infinity for no end. @default the module's shutdownGraceMs
   * @throws InvalidOptionsError when it is something else; nothing has been stopped then.
   */
  async drain(options: { readonly graceMs?: number } = {}): Promise<void> {
    checkDrainOptions(options);
    const graceMs = options.graceMs ?? this.options.shutdownGraceMs;
    for (const earlier of this.graces) earlier.shorten(graceMs);
    const grace = new Grace(graceMs);
    this.graces.add(grace);
    // One step: a start that is called meanwhile must not come between.
    await this.next(async () => {
      if (this.state === 'stopped') return;
      await this.stopClaiming();
      this.state = 'draining';
      await this.session?.finish(grace);
      this.session = undefined;
      this.state = 'stopped';
    }).finally(() => {
      grace.clear();
      this.graces.delete(grace);
    });
  }

  status(): WorkerPoolStatus {
    const { session, troubles } = this;
    const lease = session?.lease;
    return {
      state: this.state,
      workerId: lease?.workerId ?? null,
      leaseRemainingMs: lease ? Math.max(0, lease.remainingMs()) : null,
      leaseAgeMs: lease ? Math.max(0, this.options.leaseMs - lease.remainingMs()) : null,
      loopLagMs: session?.loopLagMs ?? 0,
      connection: troubles.lasting ? 'down' : 'up',
      notified: session?.notified ?? false,
      queues: session?.queues ?? [],
      lastError: troubles.latest,
    };
  }

  /** A schedule was made, changed or resumed. */
  wakeScheduler(): void {
    this.session?.wakeScheduler();
  }

  /** Limits or pauses were changed here. */
  async lookAtControl(): Promise<void> {
    await this.session?.lookAtControl();
  }

  /** As many tasks may be due on this queue in `inMs` milliseconds; without a queue, on any. */
  wake(queue?: string, inMs = 0, count?: number): void {
    this.session?.wake(queue, inMs, count);
  }

  /**
   * Keeps a free slot for a task that is about to be enqueued, when this process would run it at once anyway. The task
   * is then stored as claimed already. Give the slot back by `accept` or `decline`.
   */
  reserve(queue: string, name: string): SlotReservation | undefined {
    return this.session?.reserve(queue, name);
  }

  /** Start, stop and drain follow each other, whoever calls them when. */
  private next(step: () => Promise<void>): Promise<void> {
    const done = this.transition.then(step);
    this.transition = done.catch(() => {});
    return done;
  }

  private async begin(): Promise<void> {
    const { store, options, reporter, troubles, scheduling } = this;
    const session = new PoolSession(store, this.tasks(), options, reporter, troubles, scheduling);
    await session.register();
    // What is told from here on may be due soon: its alarms must be set though nothing is claimed yet.
    this.session = session;
    try {
      await session.begin();
    } catch (error) {
      this.session = undefined;
      await session.leave();
      throw error;
    }
  }

  private async stopClaiming(): Promise<void> {
    if (this.state !== 'running') return;
    this.state = 'stopping';
    await this.session?.stopClaiming();
  }
}

/** What is misread here aborts what runs. */
function checkDrainOptions({ graceMs, ...others }: { readonly graceMs?: number | undefined }): void {
  const [typo] = Object.keys(others);
  if (typo !== undefined) {
    throw new InvalidOptionsError(`WorkerPool.drain(): there is no option ${JSON.stringify(typo)}. Options: graceMs.`);
  }
  if (graceMs !== undefined && !(typeof graceMs === 'number' && graceMs >= 0)) {
    throw new InvalidOptionsError(
      `WorkerPool.drain(): graceMs must be a number of milliseconds, not ${String(graceMs)}.`,
    );
  }
}
