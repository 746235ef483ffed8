import { BulkStore, type PickedTask, type PickFilter, type PickRequest } from '../engine/bulk-store.js';
import type { CancelOutcome } from '../engine/task-store.js';
import type { StoredTask } from './stored-task.js';
import type { TaskChanger } from './task-changer.js';
import type { TaskTable } from './task-table.js';

/** Changes many tasks of this process, one by one. */
export class MemoryBulk extends BulkStore {
  constructor(
    private readonly tasks: TaskTable,
    private readonly changer: TaskChanger,
    private readonly now: () => number,
  ) {
    super();
  }

  async pick({ filter, among, limit, after }: PickRequest): Promise<readonly PickedTask[]> {
    const found: StoredTask[] = [];
    this.tasks.prune(this.now());
    for (const task of this.tasks.all()) {
      const isLive = task.state === 'ready' || task.state === 'running';
      if (isLive !== (among === 'live') || (after !== null && task.id <= after)) continue;
      if (matches(task, filter)) found.push(task);
    }
    found.sort((one, other) => (one.id < other.id ? -1 : 1));
    return found.slice(0, limit).map(({ id, queue, name }) => ({ id, queue, name }));
  }

  async cancel(
    tasks: readonly PickedTask[],
    keepMs: (queue: string) => number | null,
  ): Promise<ReadonlyMap<string, Exclude<CancelOutcome, 'notLive'>>> {
    const outcomes = new Map<string, Exclude<CancelOutcome, 'notLive'>>();
    for (const { id } of tasks) {
      const outcome = this.changer.cancel(id, keepMs);
      if (outcome !== 'notLive') outcomes.set(id, outcome);
    }
    return outcomes;
  }

  async retry(tasks: readonly PickedTask[]): Promise<readonly string[]> {
    return tasks.filter(({ id }) => this.changer.tryRetry(id) === true).map(({ id }) => id);
  }

  async remove(tasks: readonly PickedTask[]): Promise<readonly string[]> {
    return tasks.filter(({ id }) => this.changer.remove(id)).map(({ id }) => id);
  }
}

function matches(task: StoredTask, filter: PickFilter): boolean {
  const { queue, name, states, uniqueKey, before, dead, deadFrom } = filter;
  return (
    (queue === undefined || task.queue === queue) &&
    (name === undefined || task.name === name) &&
    (states?.includes(task.state) ?? true) &&
    (uniqueKey === undefined || task.uniqueKey === uniqueKey) &&
    task.createdAt < before &&
    (dead === undefined || (task.deadFrom !== null) === dead) &&
    (deadFrom === undefined || task.deadFrom === deadFrom)
  );
}
