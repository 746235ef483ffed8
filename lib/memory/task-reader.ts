import type { PageRequest, TaskCounts, TaskFilter, TaskOutcome, TaskPage } from '../engine/task-store.js';
import type { Task } from '../engine/task.js';
import { pageOf } from './task-pages.js';
import type { TaskTable } from './task-table.js';
import { asOutcome, asTask } from './task-views.js';

/** Shows tasks as they are. */
export class TaskReader {
  constructor(
    private readonly tasks: TaskTable,
    private readonly now: () => number,
  ) {}

  find(id: string): Task | null {
    const task = this.tasks.present(id, this.now());
    return task ? asTask(task) : null;
  }

  list(filter: TaskFilter, page: PageRequest): TaskPage {
    this.tasks.prune(this.now());
    return pageOf(this.tasks.all(), filter, page);
  }

  counts(queue?: string): TaskCounts {
    this.tasks.prune(this.now());
    const counts = { ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 };
    for (const task of this.tasks.all()) {
      if (queue === undefined || task.queue === queue) counts[task.state] += 1;
    }
    return counts;
  }

  outcomes(ids: readonly string[]): ReadonlyMap<string, TaskOutcome> {
    const found = new Map<string, TaskOutcome>();
    for (const id of ids) {
      const task = this.tasks.present(id, this.now());
      if (!task) continue;
      if (task.state === 'ready' || task.state === 'running') task.awaited = true;
      found.set(id, asOutcome(task));
    }
    return found;
  }

  nextDueMs(queue: string): number | null {
    const now = this.now();
    let next = Infinity;
    for (const task of this.tasks.all()) {
      if (task.queue === queue && task.state === 'ready' && !task.parked && task.scheduledAt > now)
        next = Math.min(next, task.scheduledAt);
    }
    return next === Infinity ? null : Math.ceil(next - now);
  }
}
