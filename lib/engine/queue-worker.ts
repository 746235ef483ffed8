import { TransactionsUnsupportedError } from '../errors/transaction.errors.js';
import { AttemptRecorder, attemptRef } from './attempt-recorder.js';
import { ClaimGate } from './claim-gate.js';
import { maxTimerMs } from './delay.js';
import { Execution } from './execution.js';
import { jittered } from './jitter.js';
import { Pace } from './pace.js';
import type { LaneKeeper } from './lane-keeper.js';
import type { Control } from './limits.js';
import type { Outcome } from './settlement.js';
import type { Settler } from './settler.js';
import type { Suspects } from './suspects.js';
import type { ClaimedTask, TaskState } from './task.js';
import type { QueueDefinition, TaskDefinition } from './task-definition.js';
import type { EngineReporter } from './task-event.js';
import type { ClaimRequest, Lease, SettledClaim, TaskStore } from './task-store.js';
import type { TransactionTerms } from './task-transaction.js';
import { TransactionalAttempt } from './transactional-attempt.js';
import { WakeSignal } from './wake-signal.js';

/** What a queue's worker needs of the pool around it. */
export interface QueueWorkerContext {
  readonly store: TaskStore;
  readonly settler: Settler;
  readonly suspects: Suspects;
  readonly lanes: LaneKeeper;
  readonly reporter: EngineReporter;
  /** The lease to claim under; waits while a lost one is being replaced. */
  lease(): Promise<Lease>;
  /** Whether hints of other processes arrive, so that an idle worker may poll less often. */
  hinted(): boolean;
  /** Told before an attempt starts, so that the lease is sustained at least as long as it may run. */
  starting(execution: Execution): void;
  /** Told when the store answers. */
  answered(): void;
  /** Told of failures of the store; they are retried, so that they only need reporting. */
  failed(doing: string, error: unknown): void;
}

/** A task that this process holds, and the lease that covers it. */
interface Held {
  readonly task: ClaimedTask;
  readonly lease: Lease;
  /** Monotonic milliseconds until which it may start; never late, since they count from before its claim was sent. */
  readonly startBy: number;
}

/** One attempt under way. */
interface Run extends Held {
  readonly execution: Execution;
}

const longestErrorPauseMs = 5_000;
/** An idle worker that is told of new work polls less and less often, up to this many intervals apart. */
const idleIntervals = 5;
/** What was claimed ahead and has not started by now goes back: other processes may be idle. */
const longestWaitAheadMs = 200;
const suspectsEveryMs = 1_000;
/** Poll intervals are set by users, and are kept more closely than the paces that the engine sets itself. */
const pauseSpread = 0.1;

/**
 * Works one queue: claims tasks for its free slots and a few ahead, runs them, hands their settlements on.
 *
 * Claims share statements by demand: while one is under way, slots become free, and the next claim takes tasks for all
 * of them. A claim that comes back short has emptied the queue, so the loop sleeps until it is woken or polls again.
 */
export class QueueWorker {
  /** Of one task there may be two: an attempt that is lost takes its time to end, and meanwhile the next is claimed here. */
  private readonly runs = new Set<Run>();
  private readonly recorder: AttemptRecorder;
  /** Claimed ahead, in the order of their start. */
  private waiting: Held[] = [];
  private readonly pace = new Pace();
  private readonly signal = new WakeSignal();
  private nudge: () => void = () => {};
  private stopping = false;
  private asleep = false;
  /** When each slot was reserved that has neither been accepted nor declined. */
  private readonly reservedSince: number[] = [];
  private claimingSince = Infinity;
  private loop: Promise<void> | undefined;
  private giveBackTimer: NodeJS.Timeout | undefined;
  private lookedForSuspects = -Infinity;
  /** The latest claim did not look for suspects, since one before it had done so just then. */
  private suspectsWait = false;
  private longest: ClaimedTask | undefined;
  private longestMs = -1;
  private waitingForTheEnd: (() => void)[] = [];
  private readonly gate: ClaimGate;
  /** Rings when a limit is to let more through. */
  private limitAlarm: NodeJS.Timeout | undefined;
  private limitRingsAt = Infinity;

  constructor(
    readonly queue: QueueDefinition,
    private readonly tasks: ReadonlyMap<string, TaskDefinition>,
    private readonly context: QueueWorkerContext,
  ) {
    this.gate = new ClaimGate(queue, tasks);
    this.recorder = new AttemptRecorder(queue, context.settler, context.reporter, (task, retryInMs) =>
      this.recorded(task, retryInMs),
    );
  }

  /** How many tasks run here at once. */
  get concurrency(): number {
    return this.gate.concurrency;
  }

  /** What was set at run time may have changed. */
  apply(control: Control): void {
    if (!this.gate.apply(control)) return;
    // What is claimed ahead would start by the rules that held before.
    this.giveBack();
    if (this.stopping) return;
    this.fill();
    this.grow();
    this.wake();
  }

  get running(): number {
    return this.runs.size;
  }

  /** How many tasks are claimed ahead of a free slot. */
  get prefetched(): number {
    return this.waiting.length;
  }

  /** Adds all claims that this worker knows it holds, each as its `claimKey`. */
  collectHeld(into: Set<string>): void {
    for (const { task } of this.runs) into.add(claimKey(task));
    for (const task of this.recorder.underWay) into.add(claimKey(task));
    for (const { task } of this.waiting) into.add(claimKey(task));
  }

  /** Monotonic milliseconds since when a claim or a reserved enqueue has been under way; Infinity when none is. */
  get pendingSince(): number {
    return Math.min(this.claimingSince, ...this.reservedSince);
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

  /** The tasks that run. */
  get runningTasks(): ClaimedTask[] {
    return [...this.runs].map(({ task }) => task);
  }

  start(): void {
    this.stopping = false;
    this.loop ??= this.work();
  }

  /** Resolves when no claim is under way and none will follow; what runs goes on running, what waits goes back. */
  async stop(): Promise<void> {
    this.stopping = true;
    this.giveBack();
    clearTimeout(this.limitAlarm);
    this.limitRingsAt = Infinity;
    this.signal.clear();
    this.signal.wake();
    this.nudge();
    await this.loop;
    this.loop = undefined;
  }

  wake(): void {
    this.signal.wake();
  }

  wakeIn(ms: number): void {
    if (!this.stopping) this.signal.wakeIn(ms);
  }

  /**
   * Keeps a slot for a task that is about to be enqueued, so that it can be stored as claimed already: only when this
   * worker would claim it at once anyway, since it has emptied its queue and has a slot to spare. Follow with `accept`
   * or `decline`.
   *
   * @returns Monotonic milliseconds since when it is kept: its name for those two. Undefined when there is none.
   */
  reserve(name: string): number | undefined {
    if (!this.asleep || this.stopping || this.free <= 0 || !this.gate.hands(name)) return undefined;
    if (this.context.settler.overloaded) return undefined;
    const since = performance.now();
    this.reservedSince.push(since);
    return since;
  }

  /** Runs a task that was stored as claimed by this worker, unless its lease has ended meanwhile. */
  accept(since: number, task: ClaimedTask, lease: Lease): void {
    this.unreserve(since);
    if (lease.remainingMs() <= 0) {
      this.abandon([task], lease);
      return this.grow();
    }
    // Before what was claimed ahead: it is stored as started.
    this.waiting.unshift({ task, lease, startBy: latestStart(task, since) });
    this.take([]);
  }

  decline(since: number): void {
    this.unreserve(since);
    this.grow();
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

  /** Whether this task runs or waits here. */
  holds(id: string): boolean {
    return [...this.runs, ...this.waiting].some(({ task }) => task.id === id);
  }

  /** Cancels this attempt, if it runs here. What only waits here goes back, where it ends as cancelled. */
  cancel({ id, claimSeq }: SettledClaim): void {
    const meant = ({ task }: Held) => task.id === id && task.claimSeq === claimSeq;
    for (const run of this.runs) if (meant(run)) run.execution.cancel();
    const place = this.waiting.findIndex(meant);
    if (place >= 0) this.release(this.waiting.splice(place, 1));
  }

  /** Ends every attempt that this lease covered, and forgets what waited under it. */
  lose(lease: Lease): void {
    for (const held of this.waiting) if (held.lease === lease) this.context.suspects.release(held.task);
    this.waiting = this.waiting.filter((held) => held.lease !== lease);
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
      if (claims.get(run.task.id) !== run.task.claimSeq) run.execution.lose();
    }
  }

  private async work(): Promise<void> {
    let errorPauseMs = 0;
    let emptyClaims = 0;
    while (!this.stopping) {
      const wanted = this.wanted();
      if (wanted === 0) {
        await this.demand();
        continue;
      }
      try {
        const claimed = await this.claim(wanted);
        errorPauseMs = 0;
        emptyClaims = claimed > 0 ? 0 : emptyClaims + 1;
        if (claimed < wanted) await this.sleep(await this.restMs(emptyClaims));
      } catch (error) {
        this.context.failed(`claim from queue "${this.queue.name}"`, error);
        errorPauseMs = Math.min(Math.max(errorPauseMs * 2, 100), longestErrorPauseMs);
        if (!this.stopping) await this.signal.sleep(jittered(errorPauseMs, pauseSpread));
      }
    }
  }

  /** This process may hold a suspect again. */
  lookForSuspects(): void {
    this.lookedForSuspects = -Infinity;
    if (!this.stopping) this.wake();
  }

  /** How many tasks to claim now: for free slots, and ahead of them once half of what was ahead has started. */
  private wanted(): number {
    if (this.context.settler.overloaded) return 0;
    const ahead = this.gate.limited ? 0 : this.pace.ahead(this.concurrency);
    const wanted = this.free + ahead - this.waiting.length;
    return wanted > 0 && (this.free > 0 || this.waiting.length <= ahead / 2) ? wanted : 0;
  }

  private get free(): number {
    return this.concurrency - this.runs.size - this.reservedSince.length;
  }

  /** Resolves when more tasks may be wanted. */
  private async demand(): Promise<void> {
    const { settler } = this.context;
    await (settler.overloaded ? Promise.race([settler.relieved(), this.nudged()]) : this.nudged());
  }

  /** Resolves when more tasks are wanted or the worker is to stop. */
  private nudged(): Promise<void> {
    return new Promise((resolve) => {
      this.nudge = resolve;
    });
  }

  private unreserve(since: number): void {
    this.reservedSince.splice(this.reservedSince.indexOf(since), 1);
  }

  private grow(): void {
    if (this.wanted() > 0) this.nudge();
  }

  private async sleep(ms: number): Promise<void> {
    if (this.stopping) return;
    this.asleep = true;
    await this.signal.sleep(jittered(ms, pauseSpread));
    this.asleep = false;
  }

  /** How long to sleep after a claim that emptied the queue. */
  private async restMs(emptyClaims: number): Promise<number> {
    const { pollIntervalMs, name } = this.queue;
    const lookAgainMs = Math.min(this.suspectsWait ? suspectsEveryMs : Infinity, this.gate.lookAgainMs);
    // Tasks that were sent on fall due when there is a token for them.
    if (this.gate.limited) this.wakeAtLimit(await this.context.store.nextDueMs(name));
    if (lookAgainMs !== Infinity) return Math.min(pollIntervalMs, lookAgainMs);
    if (this.gate.limited) return pollIntervalMs;
    if (emptyClaims < 2 || !this.context.hinted()) return pollIntervalMs;
    const dueInMs = await this.context.store.nextDueMs(name);
    return Math.min(pollIntervalMs * Math.min(emptyClaims, idleIntervals), dueInMs ?? Infinity);
  }

  /** Claims, and starts what it gets. */
  private async claim(limit: number): Promise<number> {
    const lease = await this.heldLease();
    if (!lease || this.stopping) return 0;
    const sentAt = (this.claimingSince = performance.now());
    const suspects = this.suspects(sentAt);
    let claimed: readonly ClaimedTask[] = [];
    try {
      const brought = await this.gate.claim(this.context.store, {
        workerId: lease.workerId,
        queue: this.queue.name,
        limit,
        startNow: Math.max(0, this.free),
        suspects,
      });
      claimed = brought.tasks;
      this.wakeAtLimit(brought.nextInMs);
      this.context.answered();
      // An empty claim is quicker than one that counts.
      if (claimed.length > 0) this.pace.claimed(performance.now() - sentAt);
    } finally {
      this.claimingSince = Infinity;
      this.context.suspects.claimed(suspects, claimed);
    }
    if (lease.remainingMs() <= 0) {
      this.abandon(claimed, lease);
      return 0;
    }
    this.take(claimed.map((task) => ({ task, lease, startBy: latestStart(task, sentAt) })));
    return claimed.length;
  }

  /** Suspects are rare: a look for one now and then is enough. */
  private suspects(now: number): ClaimRequest['suspects'] {
    const { suspects } = this.context;
    this.suspectsWait = now - this.lookedForSuspects < Math.min(this.queue.pollIntervalMs, suspectsEveryMs);
    if (this.suspectsWait) return suspects.takeNone;
    const asked = suspects.ask();
    // While another queue's claim is looking, this one has not had its turn.
    if (asked?.takeOne) this.lookedForSuspects = now;
    return asked;
  }

  /** Starts tasks as far as slots are free; the rest waits its turn. */
  private take(claimed: readonly Held[]): void {
    this.waiting.push(...claimed);
    if (this.stopping) return this.giveBack();
    this.fill();
    if (this.waiting.length > 0) this.watchWaiting();
  }

  private fill(): void {
    let next: Held | undefined;
    let started = 0;
    while (this.free > 0 && !this.context.settler.overloaded && (next = this.waiting[started])) {
      started++;
      this.run(next);
    }
    if (started > 0) this.waiting.splice(0, started);
  }

  private run(held: Held): void {
    const { task, lease, startBy } = held;
    const definition = this.tasks.get(task.name);
    // What has expired meanwhile goes back too, to be ended as such.
    if (!definition || (startBy !== Infinity && performance.now() >= startBy)) return this.release([held]);
    const execution = new Execution(task, {
      maxRetries: task.maxRetries ?? definition.maxRetries,
      timeoutMs: task.timeoutMs ?? definition.timeoutMs ?? this.queue.executionTimeoutMs,
    });
    this.context.starting(execution);
    this.context.reporter.event('started', attemptRef(task));
    const run: Run = { task, execution, lease, startBy };
    this.runs.add(run);
    const ended = (outcome: Outcome) => this.ended(run, definition, outcome);
    if (definition.transaction) this.runInTransaction(run, definition, definition.transaction, ended);
    else execution.run(definition.handler, ended);
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
    const { task, execution, lease } = run;
    this.runs.delete(run);
    const ranMs = performance.now() - execution.startedAt;
    this.pace.ran(ranMs);
    if (ranMs > this.longestMs) {
      this.longestMs = ranMs;
      this.longest = task;
    }
    // The slot does not wait for it: the next task may start while this outcome is being written.
    this.recorder.record(execution, definition, lease, outcome);
    if (!this.stopping) this.fill();
    this.grow();
    if (this.runs.size === 0) for (const resolve of this.waitingForTheEnd.splice(0)) resolve();
  }

  /** A task is no longer held here. */
  private recorded(task: ClaimedTask, retryInMs: number | undefined): void {
    this.context.suspects.release(task);
    if (task.lane !== null) this.context.lanes.settled(task);
    if (retryInMs !== undefined) this.wakeIn(retryInMs);
    // Only now does it no longer count as running.
    if (this.gate.limited && !this.stopping) this.wake();
    // While outcomes could not be written nothing was started.
    if (this.waiting.length > 0 && !this.stopping) this.fill();
  }

  /** The nearest time counts; what comes later is learned by then. */
  private wakeAtLimit(inMs: number | null): void {
    const ringsAt = performance.now() + (inMs ?? Infinity);
    if (this.stopping || ringsAt >= this.limitRingsAt || (inMs ?? Infinity) > maxTimerMs) return;
    clearTimeout(this.limitAlarm);
    this.limitRingsAt = ringsAt;
    this.limitAlarm = setTimeout(
      () => {
        this.limitRingsAt = Infinity;
        this.wake();
      },
      Math.ceil(inMs ?? 0),
    ).unref();
  }

  private giveBack(): void {
    clearTimeout(this.giveBackTimer);
    this.release(this.waiting.splice(0));
  }

  private release(held: readonly Held[]): void {
    for (const { task, lease } of held) this.recorder.release(task, lease);
  }

  /** Tries to give back what came when its lease had just ended, before somebody takes its worker for dead. */
  private abandon(tasks: readonly ClaimedTask[], { workerId }: Lease): void {
    if (tasks.length === 0) return;
    const back = tasks.map(({ id, queue, claimSeq }) => ({ kind: 'release', id, queue, claimSeq }) as const);
    const tell = (states: ReadonlyMap<string, TaskState>) => {
      for (const task of tasks) {
        if (states.get(task.id) === 'cancelled') this.context.reporter.event('cancelled', attemptRef(task));
        this.context.lanes.settled(task);
      }
    };
    void this.context.store.settle(workerId, back).then(tell, () => {});
    for (const task of tasks) this.context.suspects.release(task);
  }

  /** Tasks that were thought to be short may turn out long: what waits behind them must not wait with them. */
  private watchWaiting(): void {
    const first = this.waiting[0];
    clearTimeout(this.giveBackTimer);
    this.giveBackTimer = setTimeout(() => {
      if (this.waiting.length === 0) return;
      if (this.waiting[0] !== first) return this.watchWaiting();
      this.pace.stalled(longestWaitAheadMs);
      this.giveBack();
    }, longestWaitAheadMs).unref();
  }

  /** Undefined when the worker is to stop before there is one: while the database is away that may take long. */
  private async heldLease(): Promise<Lease | undefined> {
    const lease = this.context.lease();
    while (!this.stopping) {
      const held = await Promise.race([lease, this.nudged()]);
      if (held) return held;
    }
    return undefined;
  }
}

function latestStart({ expiresInMs }: ClaimedTask, claimedAt: number): number {
  return expiresInMs == null ? Infinity : claimedAt + expiresInMs;
}

/** Names one claim of one task. */
export function claimKey({ id, claimSeq }: Pick<SettledClaim, 'id' | 'claimSeq'>): string {
  return `${id} ${claimSeq}`;
}
