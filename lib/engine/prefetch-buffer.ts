import type { AttemptRecorder } from './attempt-recorder.js';
import { claimKey, type SettledClaim } from './claim.js';
import { type HeldTask, isHeldBy } from './held-task.js';
import type { Lease } from './lease.js';
import type { Pace } from './pace.js';

/** What was claimed ahead and has not started by now goes back: other processes may be idle. */
const longestWaitMs = 200;

/** The tasks of one queue that were claimed ahead of a free slot, in the order of their start. */
export class PrefetchBuffer {
  private tasks: HeldTask[] = [];
  private watch: NodeJS.Timeout | undefined;

  constructor(
    private readonly recorder: AttemptRecorder,
    private readonly pace: Pace,
  ) {}

  get size(): number {
    return this.tasks.length;
  }

  add(claimed: readonly HeldTask[]): void {
    this.tasks.push(...claimed);
  }

  /** Before all others. */
  addFirst(task: HeldTask): void {
    this.tasks.unshift(task);
  }

  at(place: number): HeldTask | undefined {
    return this.tasks[place];
  }

  /** So many have started. */
  removeFirst(count: number): void {
    this.tasks.splice(0, count);
  }

  holds(id: string): boolean {
    return this.tasks.some(({ task }) => task.id === id);
  }

  /** Adds the claim of each task, as its `claimKey`. */
  collectClaims(into: Set<string>): void {
    for (const { task } of this.tasks) into.add(claimKey(task));
  }

  /** Gives everything back to the queue. */
  giveBack(): void {
    clearTimeout(this.watch);
    this.release(this.tasks.splice(0));
  }

  /** Gives back what this claim holds, if it is here. */
  giveBackClaim(claim: SettledClaim): void {
    const place = this.tasks.findIndex((held) => isHeldBy(held, claim));
    if (place >= 0) this.release(this.tasks.splice(place, 1));
  }

  /** @returns What this lease covered: it is no longer here. */
  forget(lease: Lease): HeldTask[] {
    const forgotten = this.tasks.filter((held) => held.lease === lease);
    this.tasks = this.tasks.filter((held) => held.lease !== lease);
    return forgotten;
  }

  /** Tasks that were thought to be short may turn out long: what waits behind them must not wait with them. */
  watchFirst(): void {
    const first = this.tasks[0];
    if (!first) return;
    clearTimeout(this.watch);
    this.watch = setTimeout(() => {
      if (this.tasks[0] !== first) return this.watchFirst();
      this.pace.stalled(longestWaitMs);
      this.giveBack();
    }, longestWaitMs).unref();
  }

  private release(held: readonly HeldTask[]): void {
    for (const { task, lease } of held) this.recorder.release(task, lease);
  }
}
