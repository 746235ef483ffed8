import type { LimitChanges, QueueLimits } from './engine/limits.js';
import type { TaskStore } from './engine/task-store.js';
import { checkLimitChanges } from './options/check-limits.js';
import { checkName, maxNameLength } from './options/checks.js';

/** What TaskQueue changes at run time for all processes: limits of queues, and pauses of tasks by their name. */
export class TaskControls {
  constructor(private readonly store: TaskStore) {}

  async setLimits(queue: string, changes: LimitChanges): Promise<void> {
    checkLimitChanges(queue, changes);
    await this.store.control.setLimits(queue, changes);
  }

  async limits(queue: string): Promise<QueueLimits> {
    checkName('The queue to look at', queue, maxNameLength);
    return this.store.control.limits(queue);
  }

  async forgetTaskLimit(name: string): Promise<void> {
    checkName('The task whose limit to forget', name, maxNameLength);
    await this.store.control.forgetTaskLimit(name);
  }

  async pause(name: string): Promise<void> {
    checkName('The task to pause', name, maxNameLength);
    await this.store.control.pauseTask(name);
  }

  async resume(name: string): Promise<void> {
    checkName('The task to resume', name, maxNameLength);
    await this.store.control.resumeTask(name);
  }

  paused(): Promise<readonly string[]> {
    return this.store.control.pausedTasks();
  }
}
