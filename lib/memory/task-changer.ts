import { lanesOf } from '../engine/lane.js';
import type { CancelOutcome } from '../engine/task-store.js';
import { UniqueKeyTakenError } from '../errors/store.errors.js';
import type { Hints } from './hints.js';
import type { MemoryLanes } from './memory-lanes.js';
import type { TaskEnds } from './task-ends.js';
import type { TaskTable } from './task-table.js';

/** Does to one task what somebody asks for. */
export class TaskChanger {
  constructor(
    private readonly tasks: TaskTable,
    private readonly lanes: MemoryLanes,
    private readonly ends: TaskEnds,
    private readonly hints: Hints,
    private readonly now: () => number,
    /** Throws once the store is closed. */
    private readonly assertOpen: () => void,
  ) {}

  cancel(id: string, keepMs: (queue: string) => number | null): CancelOutcome {
    this.assertOpen();
    const task = this.tasks.get(id);
    if (task?.state === 'ready') {
      this.ends.finish(task, 'cancelled', keepMs(task.queue));
      this.lanes.fill(lanesOf([task]));
      return 'cancelled';
    }
    if (task?.state === 'running') {
      task.cancelRequest = { keepMs: keepMs(task.queue) };
      this.hints.cancel(id);
      return 'requested';
    }
    return 'notLive';
  }

  /** @throws UniqueKeyTakenError */
  retry(id: string): boolean {
    const retried = this.tryRetry(id);
    if (typeof retried === 'boolean') return retried;
    throw new UniqueKeyTakenError(id, retried.holder);
  }

  /** @returns The holder of its unique key, if that is why it cannot go back. */
  tryRetry(id: string): boolean | { readonly holder: string } {
    this.assertOpen();
    const now = this.now();
    const task = this.tasks.present(id, now);
    if (task?.state !== 'failed' && task?.state !== 'cancelled') return false;
    const holder = this.tasks.keyHolder(task);
    if (holder !== undefined) return { holder };
    task.retries = 0;
    task.crashes = 0;
    task.expiresAt = Infinity;
    task.reason = null;
    this.tasks.makeReady(task, now);
    this.lanes.fill(lanesOf([task]));
    if (!task.parked) this.hints.wakeDue([task], now);
    return true;
  }

  remove(id: string): boolean {
    this.assertOpen();
    const task = this.tasks.present(id, this.now());
    if (!task || task.state === 'running') return false;
    this.tasks.delete(task);
    this.lanes.fill(lanesOf([task]));
    if (task.awaited) this.hints.ended(id);
    return true;
  }
}
