import { TransactionsUnsupportedError } from '../errors/transaction.errors.js';
import { type AttemptRecorder, attemptRef } from './attempt-recorder.js';
import { claimKey, type SettledClaim } from './claim.js';
import { DeadlineWatch } from './deadline-watch.js';
import { Execution } from './execution.js';
import { type HeldTask, isHeldBy } from './held-task.js';
import type { Lease } from './lease.js';
import type { Pace } from './pace.js';
import type { QueueWorkerContext } from './queue-worker-context.js';
import type { Outcome } from './settlement.js';
import type { ClaimedTask } from './task.js';
import type { QueueDefinition, TaskDefinition } from './task-definition.js';
import type { TransactionTerms } from './task-transaction.js';
import { TransactionalAttempt } from './transactional-attempt.js';

/** One attempt under way. */
interface Run extends Pick<HeldTask, 'task' | 'lease' | 'answer'> {
  readonly execution: Execution;
}

/** Runs the attempts of one queue, and ends those that must not go on. */
export class TaskExecutor {
  /**
   * In the order of their starts. Of one task there may be two: an attempt that is lost takes its time to end, and meanwhile
   * the next is claimed here.
   */
  private readonly runs = new Set<Run>();
  private longest: ClaimedTask | undefined;
  private longestMs = -1;
  private readonly deadlines = new DeadlineWatch();
  private waitingForTheEnd: (() => void)[] = [];

  /** @param freed Told when an attempt has ended, and its slot is free. */
  constructor(
    private readonly queue: QueueDefinition,
    private readonly tasks: ReadonlyMap<string, TaskDefinition>,
    private readonly context: Pick<QueueWorkerContext, 'store' | 'reporter' | 'starting'>,
    private readonly recorder: AttemptRecorder,
    private readonly pace: Pace,
    private readonly freed: () => void,
  ) {}

  /** How many attempts are under way. */
  get running(): number {
    return this.runs.size;
  }

  /** The tasks that run. */
  get runningTasks(): ClaimedTask[] {
    return [...this.runs].map(({ task }) => task);
  }

  /** Monotonic milliseconds at which the last running attempt times out; 0 when none runs. */
  get latestDeadline(): number {
    let latest = 0;
    for (const { execution } of this.runs) latest = Math.max(latest, execution.deadline);
    return latest;
  }

  /** Of the attempts that have ended since the latest call, the one that took longest. */
  takeLongest(): ClaimedTask | undefined {
    const { longest } = this;
    this.longest = undefined;
    this.longestMs = -1;
    return longest;
  }

  /** How many of those under way have started after `after`, and by `by`. */
  startedBetween(after: number, by: number): number {
    let count = 0;
    for (const { execution } of this.runs) {
      if (execution.startedAt > by) break;
      if (execution.startedAt > after) count++;
    }
    return count;
  }

  /** When the first of those under way started that did so after it; undefined when there is none. */
  firstStartAfter(time: number): number | undefined {
    for (const { execution } of this.runs) if (execution.startedAt > time) return execution.startedAt;
    return undefined;
  }

  holds(id: string): boolean {
    for (const { task } of this.runs) if (task.id === id) return true;
    return false;
  }

  /** Adds the claim of each task that runs, as its `claimKey`. */
  collectClaims(into: Set<string>): void {
    for (const { task } of this.runs) into.add(claimKey(task));
  }

  /** Starts an attempt, unless that must not be: then the task goes back. */
  run(held: HeldTask): void {
    const { task, lease, startBy, answer } = held;
    const definition = this.tasks.get(task.name);
    // What has expired meanwhile goes back too, to be ended as such.
    if (!definition || (startBy !== Infinity && performance.now() >= startBy)) return this.recorder.release(held);
    const limits = {
      maxRetries: task.maxRetries ?? definition.maxRetries,
      timeoutMs: task.timeoutMs ?? definition.timeoutMs ?? this.queue.executionTimeoutMs,
    };
    const execution = new Execution(task, limits, this.deadlines);
    this.context.starting(execution);
    this.context.reporter.event('started', attemptRef(task));
    const run: Run = { task, execution, lease, answer };
    this.runs.add(run);
    const ended = (outcome: Outcome) => this.ended(run, definition, outcome);
    if (definition.transaction) this.runInTransaction(run, definition, definition.transaction, ended);
    else execution.run(definition.handler, ended);
  }

  /** Resolves when no attempt runs any more. Settlements may still be under way. */
  finished(): Promise<void> {
    if (this.runs.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.waitingForTheEnd.push(resolve));
  }

  /** Ends every attempt and gives its task back. */
  interrupt(): void {
    for (const { execution } of this.runs) execution.interrupt();
  }

  /** Cancels this attempt, if it runs here. */
  cancel(claim: SettledClaim): void {
    for (const run of this.runs) if (isHeldBy(run, claim)) run.execution.cancel();
  }

  /** Ends every attempt that this lease covered. */
  lose(lease: Lease): void {
    for (const run of this.runs) if (run.lease === lease) run.execution.lose();
  }

  /**
   * Ends each attempt whose claim is not among those that the store knew of this lease: somebody else has its task.
   *
   * @param lookedAt Monotonic milliseconds at which the store was asked; what has started since says nothing.
   */
  loseOthers(lease: Lease, claims: ReadonlyMap<string, number>, lookedAt: number): void {
    for (const run of this.runs) {
      if (run.lease !== lease || run.execution.startedAt > lookedAt) continue;
      // Forgotten, maybe, and stored again for this very attempt since then, or just now.
      if (run.answer?.repeated && run.answer.givenAt > lookedAt) continue;
      if (claims.get(run.task.id) !== run.task.claimSeq) run.execution.lose();
    }
  }

  private runInTransaction(
    { task, execution, lease }: Run,
    definition: TaskDefinition,
    terms: TransactionTerms,
    ended: (outcome: Outcome) => void,
  ): void {
    const { transactions } = this.context.store;
    const begin = async () => {
      if (!transactions) throw new TransactionsUnsupportedError([task.name], this.context.store.description);
      return transactions.begin({ ...terms, task, timeoutMs: execution.limits.timeoutMs });
    };
    new TransactionalAttempt(execution, lease.workerId, definition.handler, begin, (outcome) =>
      this.recorder.decide(execution, definition, outcome),
    ).run(ended);
  }

  private ended(run: Run, definition: TaskDefinition, outcome: Outcome): void {
    const { task, execution } = run;
    this.runs.delete(run);
    const ranMs = performance.now() - execution.startedAt;
    this.pace.ran(ranMs);
    if (ranMs > this.longestMs) {
      this.longestMs = ranMs;
      this.longest = task;
    }
    // The slot does not wait for it: the next task may start while this outcome is being written.
    this.recorder.record(execution, definition, run, outcome);
    this.freed();
    if (this.runs.size === 0) for (const resolve of this.waitingForTheEnd.splice(0)) resolve();
  }
}
