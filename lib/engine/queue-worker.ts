import { AttemptRecorder, attemptRef } from './attempt-recorder.js';
import { claimKey, type SettledClaim } from './claim.js';
import { ClaimGate } from './claim-gate.js';
import { ClaimLoop } from './claim-loop.js';
import { Forecast } from './forecast.js';
import { type WriteAnswer, heldTask, type HeldTask, mayBeForgotten } from './held-task.js';
import type { Lease } from './lease.js';
import { within } from './delay.js';
import type { Control } from './limits.js';
import { Pace } from './pace.js';
import { PrefetchBuffer } from './prefetch-buffer.js';
import type { QueueWorkerContext } from './queue-worker-context.js';
import type { ClaimedTask, TaskState } from './task.js';
import type { QueueDefinition, TaskDefinition } from './task-definition.js';
import { TaskExecutor } from './task-executor.js';

/** How long the end of a drain waits for enqueues and claims whose tasks are here, or are about to be. */
const longestAnswerMs = 500;

/** Works one queue: has tasks claimed for its free slots and a few ahead, runs them, hands their settlements on. */
export class QueueWorker {
  private readonly gate: ClaimGate;
  private readonly pace = new Pace();
  private readonly recorder: AttemptRecorder;
  private readonly executor: TaskExecutor;
  private readonly prefetch: PrefetchBuffer;
  private readonly forecast: Forecast;
  private readonly claims: ClaimLoop;
  /** When each slot was reserved that has neither been accepted nor declined. */
  private readonly reservedSince: number[] = [];
  private waitingForSlots: (() => void)[] = [];
  /** How many slots were reserved while the claim that was sent then was under way, counting on them. */
  private reservedDuring = { claim: 0, count: 0 };

  constructor(
    readonly queue: QueueDefinition,
    tasks: ReadonlyMap<string, TaskDefinition>,
    private readonly context: QueueWorkerContext,
  ) {
    this.gate = new ClaimGate(queue, tasks);
    this.recorder = new AttemptRecorder(queue, context.settler, context.reporter, (task, retryInMs) =>
      this.recorded(task, retryInMs),
    );
    this.executor = new TaskExecutor(queue, tasks, context, this.recorder, this.pace, () => this.freed());
    this.prefetch = new PrefetchBuffer(this.recorder, (waitedMs) => this.stalled(waitedMs));
    this.forecast = new Forecast(this.pace, this.executor, () => this.claimMore());
    this.claims = new ClaimLoop(queue, this.gate, this.pace, context, {
      wanted: () => this.wanted(),
      free: () => this.free,
      take: (claimed, lease, sentAt, answer) => this.take(claimed, lease, sentAt, answer),
    });
  }

  /** How many tasks run here at once. */
  get concurrency(): number {
    return this.gate.concurrency;
  }

  get running(): number {
    return this.executor.running;
  }

  /** The tasks that run. */
  get runningTasks(): ClaimedTask[] {
    return this.executor.runningTasks;
  }

  /** How many tasks are claimed ahead of a free slot. */
  get prefetched(): number {
    return this.prefetch.size;
  }

  /** Monotonic milliseconds since when a claim or a reserved enqueue has been under way; Infinity when none is. */
  get pendingSince(): number {
    return Math.min(this.claims.claimingSince, ...this.reservedSince);
  }

  /** Monotonic milliseconds at which the last running attempt times out; 0 when none runs. */
  get latestDeadline(): number {
    return this.executor.latestDeadline;
  }

  /** Of the attempts that have ended since the latest call, the one that took longest. */
  takeLongest(): ClaimedTask | undefined {
    return this.executor.takeLongest();
  }

  /** Whether this task runs or waits here. */
  holds(id: string): boolean {
    return this.executor.holds(id) || this.prefetch.holds(id);
  }

  /** Adds all claims that this worker knows it holds, each as its `claimKey`. */
  collectHeld(into: Set<string>): void {
    this.executor.collectClaims(into);
    for (const task of this.recorder.underWay) into.add(claimKey(task));
    this.prefetch.collectClaims(into);
  }

  start(): void {
    this.claims.start();
  }

  /** Resolves when no claim is under way and none will follow; what runs goes on running, what waits goes back. */
  stop(): Promise<void> {
    const stopped = this.claims.stop();
    this.forecast.stop();
    this.prefetch.giveBack();
    return stopped;
  }

  /** @param count How many tasks there may be to claim. */
  wake(count?: number): void {
    this.claims.wake(count);
  }

  /** The same in `ms` milliseconds. */
  wakeIn(ms: number, count?: number): void {
    this.claims.wakeIn(ms, count);
  }

  /** This process may hold a suspect again. */
  lookForSuspects(): void {
    this.claims.lookForSuspects();
  }

  /** What was set at run time may have changed. */
  apply(control: Control): void {
    if (!this.gate.apply(control)) return;
    // What is claimed ahead would start by the rules that held before.
    this.prefetch.giveBack();
    if (this.claims.stopping) return;
    this.claimMore();
    this.wake();
  }

  /**
   * Keeps a slot for a task that is about to be enqueued, so that it can be stored as claimed already: only when this
   * worker would claim it at once anyway, since it has emptied its queue, and has a slot to spare beside those for tasks
   * that it has been told of since. Follow with `accept` or `decline`.
   *
   * @returns Monotonic milliseconds since when it is kept: its name for those two. Undefined when there is none.
   */
  reserve(name: string): number | undefined {
    const { unclaimed, stopping } = this.claims;
    if (stopping || this.free <= unclaimed || !this.gate.hands(name)) return undefined;
    if (this.context.settler.overloaded) return undefined;
    const since = performance.now();
    this.reservedSince.push(since);
    const { claimingSince: claim } = this.claims;
    if (claim !== Infinity) {
      const count = this.reservedDuring.claim === claim ? this.reservedDuring.count + 1 : 1;
      this.reservedDuring = { claim, count };
    }
    return since;
  }

  /**
   * Runs a task that was stored as claimed by this worker, unless its lease has ended meanwhile.
   *
   * @param answer See HeldTask.
   */
  accept(since: number, task: ClaimedTask, lease: Lease, answer?: WriteAnswer): void {
    this.unreserve(since);
    if (lease.remainingMs() <= 0) {
      this.abandon([task], lease);
      return this.claimMore();
    }
    // Before what was claimed ahead: it is stored as started.
    this.prefetch.addFirst(heldTask(task, lease, since, performance.now(), answer));
    this.startPrefetched();
  }

  decline(since: number): void {
    this.unreserve(since);
    this.claimMore();
  }

  /** Resolves when no attempt runs any more. Settlements may still be under way. */
  finished(): Promise<void> {
    return this.executor.finished();
  }

  /**
   * Waits a moment for the enqueues that have a slot here, whose tasks go back, and for those, and the claims, whose tasks
   * have ended: their outcomes are written at last.
   */
  async answered(): Promise<void> {
    const until = performance.now() + longestAnswerMs;
    if (this.reservedSince.length > 0) {
      await within(longestAnswerMs, new Promise<void>((resolve) => this.waitingForSlots.push(resolve)));
    }
    await this.recorder.answered(until - performance.now());
  }

  /** Ends every attempt and gives its task back. */
  interrupt(): void {
    this.executor.interrupt();
  }

  /** Cancels this attempt, if it runs here. What only waits here goes back, where it ends as cancelled. */
  cancel(claim: SettledClaim): void {
    this.executor.cancel(claim);
    this.prefetch.giveBackClaim(claim);
  }

  /** Ends every attempt that this lease covered, and forgets what waited under it. */
  lose(lease: Lease): void {
    for (const { task } of this.prefetch.forget(lease)) this.context.suspects.release(task);
    this.executor.lose(lease);
  }

  /**
   * Ends each attempt whose claim is not among those that the store knew of this lease: somebody else has its task.
   *
   * @param lookedAt Monotonic milliseconds at which the store was asked; what has started since says nothing.
   */
  loseOthers(lease: Lease, claims: ReadonlyMap<string, number>, lookedAt: number): void {
    this.executor.loseOthers(lease, claims, lookedAt);
  }

  /** How many tasks to claim now: for free slots, and ahead of them once half of what was ahead has started. */
  private wanted(): number {
    if (this.context.settler.overloaded) return 0;
    const { ahead } = this;
    const wanted = this.free + ahead - this.prefetch.size;
    return wanted > 0 && (this.free > 0 || this.prefetch.size <= ahead / 2) ? wanted : 0;
  }

  /** How many tasks it may hold beside those for free slots. */
  private get ahead(): number {
    return this.gate.limited ? 0 : Math.max(this.pace.ahead(this.concurrency), this.forecast.ending);
  }

  private get free(): number {
    return this.concurrency - this.executor.running - this.reservedSince.length;
  }

  private unreserve(since: number): void {
    const place = this.reservedSince.indexOf(since);
    // Given back once, whatever is called after that.
    if (place >= 0) this.reservedSince.splice(place, 1);
    if (this.reservedSince.length === 0) for (const resolve of this.waitingForSlots.splice(0)) resolve();
  }

  private claimMore(): void {
    if (this.wanted() > 0) this.claims.nudge();
  }

  private take(claimed: readonly ClaimedTask[], lease: Lease, sentAt: number, answer?: WriteAnswer): number {
    if (lease.remainingMs() <= 0) {
      this.abandon(claimed, lease);
      return 0;
    }
    const takenAt = performance.now();
    this.prefetch.add(claimed.map((task) => heldTask(task, lease, sentAt, takenAt, answer)));
    this.startPrefetched();
    // They were claimed for slots that others have got meanwhile.
    if (this.reservedDuring.claim === sentAt) {
      this.prefetch.giveBackLast(Math.min(this.reservedDuring.count, this.prefetch.size - this.ahead));
    }
    return claimed.length;
  }

  /** Starts tasks as far as slots are free; the rest waits its turn. */
  private startPrefetched(): void {
    if (this.claims.stopping) return this.prefetch.giveBack();
    this.fill();
    this.prefetch.watchFirst();
  }

  private fill(): void {
    let next: HeldTask | undefined;
    let started = 0;
    while (this.free > 0 && !this.context.settler.overloaded && (next = this.prefetch.at(started))) {
      started++;
      if (this.gate.starts(next.task.name) && !mayBeForgotten(next)) this.executor.run(next);
      else this.recorder.release(next);
    }
    if (started === 0) return;
    this.prefetch.removeFirst(started);
    if (!this.gate.limited) this.forecast.started();
  }

  /** What was claimed ahead has waited too long. */
  private stalled(waitedMs: number): void {
    this.pace.stalled(waitedMs);
    this.forecast.stop();
  }

  /** An attempt has ended. */
  private freed(): void {
    this.forecast.ended();
    if (!this.claims.stopping) this.fill();
    this.claimMore();
  }

  /** A task is no longer held here. */
  private recorded(task: ClaimedTask, retryInMs: number | undefined): void {
    this.context.suspects.release(task);
    if (task.lane !== null) this.context.lanes.settled(task);
    if (retryInMs !== undefined) this.wakeIn(retryInMs, 1);
    // Only now does it no longer count as running.
    if (this.gate.limited && !this.claims.stopping) this.wake();
    // While outcomes could not be written nothing was started.
    if (this.prefetch.size > 0 && !this.claims.stopping) this.fill();
  }

  /**
   * Tries to give back what came when its lease had just ended, before somebody takes its worker for dead. Does not wait
   * until the claim is on the disk: the release comes after it in the server's log, so a crash forgets both, it or none.
   */
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
}
