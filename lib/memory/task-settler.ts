import type { Settlement } from '../engine/task-store.js';
import type { TaskState } from '../engine/task.js';
import type { Hints } from './hints.js';
import type { MemoryLanes } from './memory-lanes.js';
import { appendAttempt, type StoredTask } from './stored-task.js';
import type { TaskEnds } from './task-ends.js';
import type { TaskTable } from './task-table.js';

/** Ends the tasks that a worker holds, or puts them back. */
export class TaskSettler {
  constructor(
    private readonly tasks: TaskTable,
    private readonly lanes: MemoryLanes,
    private readonly ends: TaskEnds,
    private readonly hints: Hints,
    private readonly now: () => number,
  ) {}

  settle(workerId: string, settlements: readonly Settlement[]): ReadonlyMap<string, TaskState> {
    const settled = new Map<string, TaskState>();
    const back: StoredTask[] = [];
    for (const settlement of settlements) {
      const task = this.tasks.get(settlement.id);
      if (task?.workerId !== workerId) continue;
      if (task.claimSeq !== settlement.claimSeq || task.queue !== settlement.queue) continue;
      this.apply(task, settlement);
      settled.set(task.id, task.state);
      if (task.state === 'ready') back.push(task);
    }
    this.hints.wakeDue(back, this.now());
    return settled;
  }

  private apply(task: StoredTask, settlement: Settlement): void {
    const now = this.now();
    if ('attempt' in settlement && settlement.attempt) appendAttempt(task, settlement.attempt, now);
    if (settlement.kind === 'finish') {
      task.result = settlement.result ?? null;
      this.ends.finish(task, settlement.state, settlement.keepMs, settlement.deadLetter);
    } else if (task.cancelRequest) {
      this.ends.finish(task, 'cancelled', task.cancelRequest.keepMs);
    } else if (settlement.kind === 'retry' || settlement.kind === 'snooze') {
      task.claimedAhead = false;
      if (settlement.kind === 'retry') task.retries += 1;
      this.lanes.putBack(task, now + settlement.delayMs);
    } else {
      task.claimedAhead = false;
      task.attempt -= 1;
      this.lanes.putBack(task, task.scheduledAt);
    }
  }
}
