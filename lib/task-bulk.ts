import type { PickedTask, PickFilter, PickRequest } from './engine/bulk-store.js';
import type { TaskState } from './engine/task.js';
import type { TaskStore } from './engine/task-store.js';
import type { BulkFilter, RedriveFilter } from './interfaces/bulk-filter.interface.js';
import { bulkStates, checkBulkFilter, checkRedriveFilter } from './options/check-filter.js';
import { checkName, maxNameLength } from './options/checks.js';
import type { TaskEvents } from './task-events.js';

/** How many tasks one statement changes: few enough that nobody waits long for a row that it has locked. */
const batchSize = 500;

/** Cancels, retries, removes and redrives many tasks, batch by batch. What came after a call began is left alone. */
export class TaskBulk {
  constructor(
    private readonly store: TaskStore,
    private readonly events: TaskEvents,
    /** For how many milliseconds a cancelled task of the queue stays. */
    private readonly keepCancelledMs: (queue: string) => number | null,
  ) {}

  async cancelMany(filter: BulkFilter): Promise<number> {
    checkBulkFilter('cancelMany', filter);
    return this.each('live', await this.picking(filter, bulkStates.cancelMany), async (tasks) => {
      const outcomes = await this.store.bulk.cancel(tasks, this.keepCancelledMs);
      for (const { id, name, queue } of tasks) {
        // Those that run are told of by the processes that run them.
        if (outcomes.get(id) === 'cancelled') this.events.emit('cancelled', { id, name, queue });
      }
      return outcomes.size;
    });
  }

  async retryMany(filter: BulkFilter): Promise<number> {
    checkBulkFilter('retryMany', filter);
    return this.retrying({ ...(await this.picking(filter, bulkStates.retryMany)), dead: false });
  }

  async redrive(queue: string, filter: RedriveFilter): Promise<number> {
    checkName('The queue to redrive', queue, maxNameLength);
    checkRedriveFilter(queue, filter);
    const { deadFrom } = filter;
    return this.retrying({ ...(await this.picking({ ...filter, queue }, ['failed'])), dead: true, deadFrom });
  }

  async removeMany(filter: BulkFilter): Promise<number> {
    checkBulkFilter('removeMany', filter);
    const picking = await this.picking(filter, bulkStates.removeMany);
    const remove = async (tasks: readonly PickedTask[]) => (await this.store.bulk.remove(tasks)).length;
    const states = picking.states ?? [];
    // Live ones first: one that ends meanwhile is met among the finished, if those are asked for.
    const live = states.includes('ready') ? await this.each('live', picking, remove) : 0;
    const finished = states.some((state) => state !== 'ready') ? await this.each('finished', picking, remove) : 0;
    return live + finished;
  }

  private retrying(picking: PickFilter): Promise<number> {
    return this.each('finished', picking, async (tasks) => (await this.store.bulk.retry(tasks)).length);
  }

  private async picking(
    { queue, name, state, uniqueKey, before }: BulkFilter,
    possible: readonly TaskState[],
  ): Promise<PickFilter> {
    // Just after now by the store's clock, whose times are finer than milliseconds.
    const now = (await this.store.schedules.now()) + 1;
    const states = state === undefined ? possible : [state].flat();
    return { queue, name, uniqueKey, states, before: Math.min(now, before?.getTime() ?? Infinity) };
  }

  /** Goes through the tasks by their ids, so that each is met once whatever becomes of it. */
  private async each(
    among: PickRequest['among'],
    filter: PickFilter,
    change: (tasks: readonly PickedTask[]) => Promise<number>,
  ): Promise<number> {
    let changed = 0;
    let after: string | null = null;
    for (;;) {
      const tasks: readonly PickedTask[] = await this.store.bulk.pick({ filter, among, limit: batchSize, after });
      if (tasks.length > 0) changed += await change(tasks);
      const last = tasks.at(-1);
      if (!last || tasks.length < batchSize) return changed;
      after = last.id;
    }
  }
}
