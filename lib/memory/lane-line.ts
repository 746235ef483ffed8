import type { Lane } from '../engine/lane.js';
import type { StoredTask } from './stored-task.js';
import { dueBefore, WaitingLine } from './waiting-line.js';

/** The live tasks of one lane: those that are parked, in the order of admission, and those that have their place. */
export class LaneLine {
  /** Had started before a pause parked them. */
  private readonly started = new WaitingLine();
  private readonly fresh = new WaitingLine();
  private readonly parked = new Set<StoredTask>();
  private readonly admitted = new Set<StoredTask>();

  constructor(readonly lane: Lane) {}

  get isEmpty(): boolean {
    return this.parked.size === 0 && this.admitted.size === 0;
  }

  add(task: StoredTask): void {
    if (!task.parked) return void this.admitted.add(task);
    this.parked.add(task);
    this.lineOf(task).add(task);
  }

  remove(task: StoredTask): void {
    this.admitted.delete(task);
    if (this.parked.delete(task)) this.lineOf(task).remove(task);
  }

  /** Those that have a place, but do not run. */
  notRunning(): readonly StoredTask[] {
    return [...this.admitted].filter(({ state }) => state === 'ready');
  }

  /** The next to get a place, and who gives way to it; undefined when there is none, or none that it could have. */
  nextMove(now: number): { readonly admit: StoredTask; readonly park: StoredTask | undefined } | undefined {
    const admit = this.started.next(now) ?? this.fresh.next(now);
    if (!admit) return undefined;
    if (this.admitted.size < (admit.laneLimit ?? 1)) return { admit, park: undefined };
    const park = this.notRunning()
      .filter((task) => task.claimSeq === 0 && task.scheduledAt > now)
      .filter((task) => admit.claimSeq > 0 || admit.scheduledAt <= now || dueBefore(admit, task))
      .reduce<StoredTask | undefined>((last, task) => (last && dueBefore(task, last) ? last : task), undefined);
    return park && { admit, park };
  }

  private lineOf({ claimSeq }: StoredTask): WaitingLine {
    return claimSeq > 0 ? this.started : this.fresh;
  }
}
