import { lanesOf } from '../engine/lane.js';
import type { NewTask, Stored } from '../engine/task.js';
import type { Hints } from './hints.js';
import type { MemoryLanes } from './memory-lanes.js';
import { isExpired, isUnstarted, newStoredTask, type StoredTask } from './stored-task.js';
import { keyOf, type TaskTable } from './task-table.js';

/** A unique key that is held for a time, whatever becomes of the task. */
interface Window {
  readonly taskId: string;
  readonly until: number;
}

/** Stores tasks, each unless its unique key is held by another. */
export class Producer {
  private readonly windows = new Map<string, Window>();

  constructor(
    private readonly tasks: TaskTable,
    /** Whether a worker may have tasks of a queue as soon as they are stored. */
    private readonly isOpenTo: (workerId: string, queue: string) => boolean,
    private readonly hints: Hints,
    private readonly lanes: MemoryLanes,
    private readonly now: () => number,
  ) {}

  store(tasks: readonly NewTask[]): Stored[] {
    const now = this.now();
    const due = new Set<string>();
    // All are made before the first is stored, so that one that cannot be made leaves no others behind.
    const made = tasks.map((given) => ({ given, task: newStoredTask(given, now) }));
    const left: StoredTask[] = [];
    const results = made.map(({ given, task }) => this.storeOne(given, task, now, due, left));
    this.hints.wake(due);
    this.lanes.fill(lanesOf([...made.map(({ task }) => task), ...left]));
    return results;
  }

  /** Forgets the windows that are over. */
  forget(): void {
    const now = this.now();
    for (const [key, { until }] of this.windows) if (until <= now) this.windows.delete(key);
  }

  private storeOne(given: NewTask, task: StoredTask, now: number, due: Set<string>, left: StoredTask[]): Stored {
    const known = this.tasks.get(task.id);
    if (known) return { id: known.id, duplicate: false, ...handedAt(known, given.handTo) };
    const holder = this.holder(given, task, now);
    if (holder !== undefined) return this.meet(holder, given, task, now, due, left);
    this.tasks.insert(task);
    if (task.parked) return { id: task.id, duplicate: false };
    if (given.handTo !== undefined && this.isOpenTo(given.handTo, task.queue)) {
      this.tasks.hand(task, given.handTo, now);
      return { id: task.id, duplicate: false, handedAt: now };
    }
    if (task.scheduledAt <= now) due.add(task.queue);
    return { id: task.id, duplicate: false };
  }

  /** Who holds the key of a new task; when nobody does, its window is open from now on. */
  private holder({ unique }: NewTask, task: StoredTask, now: number): string | undefined {
    if (unique?.scope === 'window') {
      const window = this.windows.get(keyOf(task));
      if (window && window.until > now) return window.taskId;
      this.windows.set(keyOf(task), { taskId: task.id, until: now + (unique.windowMs ?? 0) });
      return undefined;
    }
    const id = this.tasks.keyHolder(task);
    const holder = id === undefined ? undefined : this.tasks.get(id);
    if (!holder || !isExpired(holder, now)) return id;
    this.tasks.freeKey(holder);
    return undefined;
  }

  /** @param left Takes in, as it was, a task that may leave its lane. */
  private meet(
    id: string,
    given: NewTask,
    task: StoredTask,
    now: number,
    due: Set<string>,
    left: StoredTask[],
  ): Stored {
    const holder = this.tasks.get(id);
    if (!given.unique?.replace || !holder || !isUnstarted(holder) || isExpired(holder, now)) {
      return { id, duplicate: true };
    }
    left.push({ ...holder });
    this.tasks.replace(holder, task, given.unique.movesDue ? task.scheduledAt : holder.scheduledAt);
    if (!holder.parked && holder.scheduledAt <= now) due.add(holder.queue);
    return { id, duplicate: true, replaced: true };
  }
}

/** The first claim of a task by the worker that it was handed to; a repeated enqueue finds it so. */
function handedAt({ workerId, claimSeq, createdAt }: StoredTask, handTo: string | undefined): { handedAt?: number } {
  return handTo !== undefined && workerId === handTo && claimSeq === 1 ? { handedAt: createdAt } : {};
}
