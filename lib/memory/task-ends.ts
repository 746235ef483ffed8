import type { FinishedState } from '../engine/task.js';
import type { Hints } from './hints.js';
import type { StoredTask } from './stored-task.js';
import type { TaskTable } from './task-table.js';

/** Ends tasks, and tells whoever awaits that. */
export class TaskEnds {
  constructor(
    private readonly tasks: TaskTable,
    private readonly hints: Hints,
    private readonly now: () => number,
  ) {}

  /** @param deadLetter The queue under which it stays, if that is not its own. */
  finish(task: StoredTask, state: FinishedState, keepMs: number | null, deadLetter?: string): void {
    this.tasks.finish(task, state, keepMs, this.now(), deadLetter);
    if (task.awaited) this.hints.ended(task.id);
    task.awaited = false;
  }
}
