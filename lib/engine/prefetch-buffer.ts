import type { AttemptRecorder } from './attempt-recorder.js';
import { claimKey, type SettledClaim } from './claim.js';
import { type HeldTask, isHeldBy } from './held-task.js';
import type { Lease } from './lease.js';

/** What was claimed ahead and has not started by now goes back: other processes may be idle. */
const longestWaitMs = 200;

/** The tasks of one queue that were claimed ahead of a free slot, in the order of their start. */
export class PrefetchBuffer {
  private tasks: HeldTask[] = [];
  /** How many at the front of `tasks` have started; they are taken out now and then, not one by one. */
  private gone = 0;
  private watch: NodeJS.Timeout | undefined;

  /** @param stalled Told when the first one has waited for so many milliseconds: then all go back. */
  constructor(
    private readonly recorder: AttemptRecorder,
    private readonly stalled: (waitedMs: number) => void,
  ) {}

  get size(): number {
    return this.tasks.length - this.gone;
  }

  add(claimed: readonly HeldTask[]): void {
    this.tasks.push(...claimed);
  }

  /** Before all others. */
  addFirst(task: HeldTask): void {
    this.tidied().unshift(task);
  }

  at(place: number): HeldTask | undefined {
    return this.tasks[this.gone + place];
  }

  /** So many have started. */
  removeFirst(count: number): void {
    this.gone += count;
    if (this.gone * 2 >= this.tasks.length) this.tidied();
  }

  holds(id: string): boolean {
    return this.tidied().some(({ task }) => task.id === id);
  }

  /** Adds the claim of each task, as its `claimKey`. */
  collectClaims(into: Set<string>): void {
    for (const { task } of this.tidied()) into.add(claimKey(task));
  }

  /** Gives everything back to the queue. */
  giveBack(): void {
    clearTimeout(this.watch);
    this.release(this.tidied().splice(0));
  }

  /** Gives back the last ones, so many. */
  giveBackLast(count: number): void {
    if (count > 0) this.release(this.tidied().splice(-count));
  }

  /** Gives back what this claim holds, if it is here. */
  giveBackClaim(claim: SettledClaim): void {
    const place = this.tidied().findIndex((held) => isHeldBy(held, claim));
    if (place >= 0) this.release(this.tasks.splice(place, 1));
  }

  /** @returns What this lease covered: it is no longer here. */
  forget(lease: Lease): HeldTask[] {
    const forgotten = this.tidied().filter((held) => held.lease === lease);
    this.tasks = this.tasks.filter((held) => held.lease !== lease);
    return forgotten;
  }

  /** Tasks that were thought to be short may turn out long: what waits behind them must not wait with them. */
  watchFirst(): void {
    clearTimeout(this.watch);
    const first = this.at(0);
    if (!first) return;
    const waitMs = Math.max(0, first.since + longestWaitMs - performance.now());
    this.watch = setTimeout(() => this.look(), waitMs).unref();
  }

  /** Who came first waits longest. */
  private look(): void {
    const first = this.at(0);
    if (!first) return;
    if (performance.now() - first.since < longestWaitMs) return this.watchFirst();
    this.stalled(longestWaitMs);
    this.giveBack();
  }

  /** @returns All that are here, and none besides. */
  private tidied(): HeldTask[] {
    this.tasks.splice(0, this.gone);
    this.gone = 0;
    return this.tasks;
  }

  private release(held: readonly HeldTask[]): void {
    for (const one of held) this.recorder.release(one);
  }
}
