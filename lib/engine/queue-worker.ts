import { maxTimerMs } from './delay.js';
import { Execution } from './execution.js';
import { type Outcome, settle } from './settlement.js';
import type { Settler } from './settler.js';
import type { ClaimedTask } from './task.js';
import type { QueueDefinition, TaskDefinition } from './task-definition.js';
import type { AttemptRef, EngineReporter } from './task-event.js';
import type { Lease, TaskStore } from './task-store.js';
import { WakeSignal } from './wake-signal.js';

/** What a queue's worker needs of the pool around it. */
export interface QueueWorkerContext {
  readonly store: TaskStore;
  readonly settler: Settler;
  readonly reporter: EngineReporter;
  /** The lease to claim under; waits while a lost one is being replaced. */
  lease(): Promise<Lease>;
  /** Told before an attempt starts, so that the lease is sustained at least as long as it may run. */
  starting(execution: Execution): void;
  /** Told of failures of the store; they are retried, so that they only need reporting. */
  failed(doing: string, error: unknown): void;
}

/** One attempt under way, and the lease that covers it. */
interface Run {
  readonly execution: Execution;
  readonly lease: Lease;
  readonly over: Promise<unknown>;
}

const longestErrorPauseMs = 5_000;

/**
 * Works one queue: claims as many tasks as it has free slots, runs them, hands their settlements on.
 *
 * Claims share statements by demand: while one is under way, slots become free, and the next claim takes tasks for all
 * of them. A claim that comes back short has emptied the queue, so the loop sleeps until it is woken or polls again.
 */
export class QueueWorker {
  private readonly runs = new Map<string, Run>();
  private readonly signal = new WakeSignal();
  private slotFreed: () => void = () => {};
  private stopping = false;
  private loop: Promise<void> | undefined;

  constructor(
    readonly queue: QueueDefinition,
    private readonly tasks: ReadonlyMap<string, TaskDefinition>,
    private readonly context: QueueWorkerContext,
  ) {}

  get running(): number {
    return this.runs.size;
  }

  /** Monotonic milliseconds at which the last running attempt times out; 0 when none runs. */
  get latestDeadline(): number {
    let latest = 0;
    for (const { execution } of this.runs.values()) latest = Math.max(latest, execution.deadline);
    return latest;
  }

  /** The tasks that run, for the log. */
  describeRunning(): string[] {
    return [...this.runs.values()].map(({ execution: { task } }) => `"${task.name}" ${task.id}`);
  }

  start(): void {
    this.stopping = false;
    this.loop ??= this.work();
  }

  /** Resolves when no claim is under way and none will follow; what runs goes on running. */
  async stop(): Promise<void> {
    this.stopping = true;
    this.signal.clear();
    this.signal.wake();
    this.slotFreed();
    await this.loop;
    this.loop = undefined;
  }

  wake(): void {
    this.signal.wake();
  }

  wakeIn(ms: number): void {
    if (!this.stopping) this.signal.wakeIn(ms);
  }

  /** Resolves when every attempt that runs now is over. Its settlement may still be under way. */
  async finished(): Promise<void> {
    await Promise.all([...this.runs.values()].map((run) => run.over));
  }

  /** Ends every attempt and gives its task back. */
  interrupt(): void {
    for (const { execution } of this.runs.values()) execution.interrupt();
  }

  /** Cancels the attempt of this task, if it runs here. */
  cancel(id: string): void {
    this.runs.get(id)?.execution.cancel();
  }

  /** Ends every attempt that this lease covered. */
  lose(lease: Lease): void {
    for (const run of this.runs.values()) if (run.lease === lease) run.execution.lose();
  }

  private async work(): Promise<void> {
    let errorPauseMs = 0;
    while (!this.stopping) {
      const free = this.queue.concurrency - this.runs.size;
      if (free <= 0 || this.context.settler.overloaded) {
        await this.nextFreeSlot();
        continue;
      }
      try {
        const claimed = await this.claim(free);
        errorPauseMs = 0;
        if (claimed < free && !this.stopping) await this.signal.sleep(jittered(this.queue.pollIntervalMs));
      } catch (error) {
        this.context.failed(`claim from queue "${this.queue.name}"`, error);
        errorPauseMs = Math.min(Math.max(errorPauseMs * 2, 100), longestErrorPauseMs);
        if (!this.stopping) await this.signal.sleep(jittered(errorPauseMs));
      }
    }
  }

  /** Claims for `free` slots and starts what it gets. */
  private async claim(free: number): Promise<number> {
    const lease = await this.heldLease();
    if (!lease || this.stopping) return 0;
    const claimed = await this.context.store.claim({
      workerId: lease.workerId,
      queue: this.queue.name,
      names: [...this.tasks.keys()],
      limit: free,
    });
    // A lease that ended meanwhile takes its claims along: they are somebody else's to rescue.
    if (lease.remainingMs() <= 0) return 0;
    for (const task of claimed) this.run(task, lease);
    return claimed.length;
  }

  private run(task: ClaimedTask, lease: Lease): void {
    const definition = this.tasks.get(task.name);
    if (!definition) return;
    const execution = new Execution(task, {
      maxRetries: task.maxRetries ?? definition.maxRetries,
      timeoutMs: task.timeoutMs ?? definition.timeoutMs ?? this.queue.executionTimeoutMs,
    });
    if (this.stopping) execution.interrupt();
    else {
      this.context.starting(execution);
      this.context.reporter.event('started', attemptRef(task));
    }
    const over = execution.run(definition.handler);
    this.runs.set(task.id, { execution, lease, over });
    void over.then((outcome) => {
      this.runs.delete(task.id);
      this.slotFreed();
      // Not awaited by the slot: its next task may start while this outcome is being written.
      return this.finish(execution, definition, lease, outcome);
    });
  }

  private async finish(
    execution: Execution,
    definition: TaskDefinition,
    lease: Lease,
    outcome: Outcome,
  ): Promise<void> {
    const { task, limits } = execution;
    const { reporter, settler } = this.context;
    if (outcome.kind === 'lost') return reporter.event('lost', attemptRef(task));
    const durationMs = performance.now() - execution.startedAt;
    const settlement = settle(task, outcome, {
      maxRetries: limits.maxRetries,
      backoff: definition.backoff,
      retention: this.queue.retention,
      random: Math.random,
    });
    if ((await settler.settle(lease, settlement)) === 'lost') return reporter.event('lost', attemptRef(task));
    const ref = attemptRef(task);
    const error = 'error' in outcome ? outcome.error : undefined;
    switch (settlement.kind) {
      case 'release':
        return;
      case 'retry':
        this.wakeIn(settlement.delayMs);
        return reporter.event('retrying', { ...ref, durationMs, error, delayMs: settlement.delayMs });
      case 'finish':
        switch (settlement.state) {
          case 'done':
            return reporter.event('done', { ...ref, durationMs });
          case 'cancelled':
            return reporter.event('cancelled', ref);
          case 'failed':
            return reporter.event('failed', { ...ref, durationMs, error });
        }
    }
  }

  /** Undefined when the worker is to stop before there is one: while the database is away that may take long. */
  private async heldLease(): Promise<Lease | undefined> {
    const lease = this.context.lease();
    while (!this.stopping) {
      const held = await Promise.race([lease, this.freed()]);
      if (held) return held;
    }
    return undefined;
  }

  private async nextFreeSlot(): Promise<void> {
    const { settler } = this.context;
    await (settler.overloaded ? Promise.race([settler.idle(), this.freed()]) : this.freed());
  }

  /** Resolves when a slot becomes free or the worker is to stop. */
  private freed(): Promise<void> {
    return new Promise((resolve) => {
      this.slotFreed = resolve;
    });
  }
}

function attemptRef(task: ClaimedTask): AttemptRef {
  return { id: task.id, name: task.name, queue: task.queue, attempt: task.attempt };
}

/** Spreads processes that started together: between 90 % and 110 %. */
function jittered(ms: number): number {
  return Math.min(ms * (0.9 + Math.random() * 0.2), maxTimerMs);
}
