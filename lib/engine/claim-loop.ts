import type { ClaimRequest } from './claim.js';
import type { ClaimGate } from './claim-gate.js';
import { answerOf, type WriteAnswer } from './held-task.js';
import { jittered } from './jitter.js';
import type { Lease } from './lease.js';
import { LimitAlarm } from './limit-alarm.js';
import type { Pace } from './pace.js';
import type { QueueWorkerContext } from './queue-worker-context.js';
import type { ClaimedTask } from './task.js';
import type { QueueDefinition } from './task-definition.js';
import { WakeSignal } from './wake-signal.js';

/** The worker that runs what a loop claims. */
export interface ClaimTarget {
  /** How many tasks to claim now. */
  wanted(): number;
  /** How many of them could start at once. */
  free(): number;
  /**
   * Takes what a claim has brought, which was sent at `sentAt`, in monotonic milliseconds.
   *
   * @param answer Of the claim, if it was not durable yet.
   * @returns How many tasks it has taken: none under a lease that has ended meanwhile.
   */
  take(claimed: readonly ClaimedTask[], lease: Lease, sentAt: number, answer?: WriteAnswer): number;
}

const longestErrorPauseMs = 5_000;
/** An idle worker that is told of new work polls less and less often, up to this many intervals apart. */
const idleIntervals = 5;
const suspectsEveryMs = 1_000;
/** Poll intervals are set by users, and are kept more closely than the paces that the engine sets itself. */
const pauseSpread = 0.1;

/**
 * Claims the tasks of one queue, as many as its worker wants.
 *
 * Claims share statements by demand: while one is under way, slots become free, and the next claim takes tasks for all
 * of them. A claim that comes back short has emptied the queue, so the loop sleeps until it is woken or polls again.
 */
export class ClaimLoop {
  /** No claim will follow. */
  stopping = false;
  /** Monotonic milliseconds since when a claim has been under way; Infinity when none is. */
  claimingSince = Infinity;
  /** How many tasks no claim has been sent for yet, of those that this process has been told of; Infinity if it cannot know. */
  private waiting = Infinity;
  /** How many of them the claim under way may bring. */
  private claiming = 0;
  /** Of the latest claim that was not durable when it came back. */
  private answer: WriteAnswer | undefined;
  private readonly signal = new WakeSignal((count) => void (this.waiting += count));
  private readonly limitAlarm = new LimitAlarm(() => this.wake());
  private letOn: () => void = () => {};
  private loop: Promise<void> | undefined;
  private lookedForSuspects = -Infinity;
  /** The latest claim did not look for suspects, since one before it had done so just then. */
  private suspectsWait = false;

  constructor(
    private readonly queue: QueueDefinition,
    private readonly gate: ClaimGate,
    private readonly pace: Pace,
    private readonly context: QueueWorkerContext,
    private readonly target: ClaimTarget,
  ) {}

  /** How many tasks there are on the queue that are due and not claimed, as far as this process knows. */
  get unclaimed(): number {
    return this.waiting + this.claiming;
  }

  start(): void {
    this.stopping = false;
    this.loop ??= this.work();
  }

  /** Resolves when no claim is under way and none will follow. */
  async stop(): Promise<void> {
    this.stopping = true;
    this.waiting = Infinity;
    this.limitAlarm.clear();
    this.signal.clear();
    this.signal.wake();
    this.nudge();
    await this.loop;
  }

  /** @param count How many tasks there may be to claim. */
  wake(count = Infinity): void {
    this.waiting += count;
    this.signal.wake();
  }

  /** The same in `ms` milliseconds. */
  wakeIn(ms: number, count?: number): void {
    if (this.stopping) return;
    if (ms <= 0) this.wake(count);
    else this.signal.wakeIn(ms, count);
  }

  /** More tasks may be wanted. */
  nudge(): void {
    this.letOn();
  }

  /** This process may hold a suspect again. */
  lookForSuspects(): void {
    this.lookedForSuspects = -Infinity;
    if (!this.stopping) this.wake();
  }

  private async work(): Promise<void> {
    let errorPauseMs = 0;
    let emptyClaims = 0;
    // Somebody waits for the first task after a rest. A claim that follows another is made while handlers run: no task starts
    // sooner if that does not wait for the disk.
    let rested = true;
    while (!this.stopping) {
      const wanted = this.target.wanted();
      if (wanted === 0) {
        await this.demand();
        continue;
      }
      try {
        // One at a time: a disk that does not answer soon lets no more start.
        const claimed = await this.claim(wanted, rested && this.answer === undefined);
        errorPauseMs = 0;
        emptyClaims = claimed > 0 ? 0 : emptyClaims + 1;
        rested = claimed < wanted;
        if (!rested) this.waiting = Infinity;
        else if (!this.stopping) await this.sleep(await this.restMs(emptyClaims));
      } catch (error) {
        this.waiting = Infinity;
        this.context.failed(`claim from queue "${this.queue.name}"`, error);
        errorPauseMs = Math.min(Math.max(errorPauseMs * 2, 100), longestErrorPauseMs);
        if (!this.stopping) await this.signal.sleep(jittered(errorPauseMs, pauseSpread));
      }
    }
    // At once: whoever starts it again from now on needs another.
    this.loop = undefined;
  }

  /** Resolves when more tasks may be wanted. */
  private async demand(): Promise<void> {
    const { settler } = this.context;
    await (settler.overloaded ? Promise.race([settler.relieved(), this.nudged()]) : this.nudged());
  }

  /** Resolves when more tasks are wanted or the worker is to stop. */
  private nudged(): Promise<void> {
    return new Promise((resolve) => {
      this.letOn = resolve;
    });
  }

  private async sleep(ms: number): Promise<void> {
    if (!this.stopping) await this.signal.sleep(jittered(ms, pauseSpread));
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

  /**
   * @param early Whether tasks may start before their claim is on the disk.
   * @returns How many tasks it has brought.
   */
  private async claim(limit: number, early: boolean): Promise<number> {
    const lease = await this.heldLease();
    if (!lease || this.stopping) return 0;
    const sentAt = (this.claimingSince = performance.now());
    this.claiming = this.waiting;
    this.waiting = 0;
    const suspects = this.suspects(sentAt);
    let claimed: readonly ClaimedTask[] = [];
    let answer: WriteAnswer | undefined;
    try {
      const brought = await this.gate.claim(this.context.store, {
        workerId: lease.workerId,
        queue: this.queue.name,
        limit,
        startNow: Math.max(0, this.target.free()),
        suspects,
        ...(early && { early: (durable) => void (answer = this.awaitDisk(durable)) }),
      });
      claimed = brought.tasks;
      this.wakeAtLimit(brought.nextInMs);
      this.context.answered();
      // An empty claim is quicker than one that counts.
      if (claimed.length > 0) this.pace.claimed(performance.now() - sentAt);
    } finally {
      this.claimingSince = Infinity;
      this.claiming = 0;
      this.context.suspects.claimed(suspects, claimed);
    }
    return this.target.take(claimed, lease, sentAt, answer);
  }

  private awaitDisk(durable: Promise<void>): WriteAnswer {
    const answer = (this.answer = answerOf(durable, { repeated: false }));
    void answer.given.then(() => {
      if (this.answer === answer) this.answer = undefined;
    });
    durable.catch((error: unknown) =>
      this.context.failed(`have claims from queue "${this.queue.name}" on the disk`, error),
    );
    return answer;
  }

  /** Undefined when the worker is to stop before there is one: while the database is away that may take long. */
  private async heldLease(): Promise<Lease | undefined> {
    const lease = this.context.lease();
    if (!(lease instanceof Promise)) return lease;
    while (!this.stopping) {
      const held = await Promise.race([lease, this.nudged()]);
      if (held) return held;
    }
    return undefined;
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

  private wakeAtLimit(inMs: number | null): void {
    if (!this.stopping) this.limitAlarm.ringIn(inMs);
  }
}
