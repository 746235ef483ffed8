import { type Lane, laneId, laneOf, type PausedLane } from '../engine/lane.js';
import { LaneStore } from '../engine/lane-store.js';
import { StoreClosedError } from '../errors/store.errors.js';
import type { StoredTask } from './stored-task.js';
import type { TaskTable } from './task-table.js';

/** Concurrency keys in memory, beside the tasks. */
export class MemoryLanes extends LaneStore {
  private readonly pauses = new Map<string, PausedLane>();

  constructor(
    private readonly tasks: TaskTable,
    private readonly now: () => number,
    private readonly isOpen: () => boolean,
    private readonly wake: (queues: Iterable<string>) => void,
  ) {
    super();
  }

  async admit(lanes: readonly Lane[]): Promise<void> {
    if (!this.isOpen()) throw new StoreClosedError();
    this.fill(lanes);
  }

  /** What `admit` does, for the store itself. */
  fill(lanes: readonly Lane[]): void {
    const woken = new Set<string>();
    for (const lane of lanes) {
      if (this.tasks.admit(lane, this.pauses.has(laneId(lane)), this.now())) woken.add(lane.queue);
    }
    this.wake(woken);
  }

  /** Puts a task that has run back, for when it is due. */
  putBack(task: StoredTask, scheduledAt: number): void {
    const lane = laneOf(task);
    this.tasks.makeReady(task, scheduledAt, lane !== null && this.pauses.has(laneId(lane)));
  }

  async sweep(): Promise<void> {
    await this.admit(this.tasks.lanes());
  }

  async pause(lane: Lane): Promise<void> {
    const id = laneId(lane);
    if (!this.pauses.has(id)) this.pauses.set(id, { ...lane, pausedAt: new Date(this.now()) });
    await this.admit([lane]);
  }

  async resume(lane: Lane): Promise<void> {
    this.pauses.delete(laneId(lane));
    await this.admit([lane]);
  }

  async paused(): Promise<readonly PausedLane[]> {
    return [...this.pauses.values()].toSorted((one, other) => compare(parts(one), parts(other)));
  }
}

function parts({ queue, name, key }: Lane): string[] {
  return [queue, name, key];
}

function compare(one: readonly string[], other: readonly string[]): number {
  const place = one.findIndex((part, index) => part !== other[index]);
  if (place < 0) return 0;
  return (one[place] ?? '') < (other[place] ?? '') ? -1 : 1;
}
