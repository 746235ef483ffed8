import { lanesOf } from '../engine/lane.js';
import type { ExpireRequest, Expiry, RescuedTask, RescueRequest } from '../engine/task-store.js';
import type { StoredError } from '../engine/task.js';
import { QuarantinedError } from '../errors/execution.errors.js';
import type { Hints } from './hints.js';
import type { MemoryLanes } from './memory-lanes.js';
import { appendAttempt, isExpired, isUnstarted, type StoredTask } from './stored-task.js';
import type { TaskEnds } from './task-ends.js';
import type { TaskTable } from './task-table.js';
import type { Workers } from './workers.js';

/** What time does to tasks: their workers die, or nobody starts them before they expire. */
export class TaskRecovery {
  constructor(
    private readonly tasks: TaskTable,
    private readonly workers: Workers,
    private readonly lanes: MemoryLanes,
    private readonly ends: TaskEnds,
    private readonly hints: Hints,
    private readonly now: () => number,
  ) {}

  rescue(request: RescueRequest): readonly RescuedTask[] {
    const dead = this.tasks.holders().filter((workerId) => !this.workers.isAlive(workerId));
    const orphans = dead.flatMap((workerId) => this.tasks.heldBy(workerId));
    const lanes = lanesOf(orphans);
    const rescued = orphans.map((task) => this.rescueOne(task, request)).filter((task) => task !== null);
    const back = orphans.filter((task) => task.state === 'ready');
    this.hints.wakeDue(back, this.now());
    this.lanes.fill(lanes);
    return rescued;
  }

  expire({ keepCancelledMs, keepOthersMs = Infinity }: ExpireRequest): Expiry {
    const now = this.now();
    const waiting = [...this.tasks.all()].filter((task) => isUnstarted(task));
    const expired = waiting.filter((task) => isExpired(task, now));
    for (const task of expired) {
      task.reason = 'expired';
      const keepMs = keepCancelledMs.get(task.queue);
      this.ends.finish(task, 'cancelled', keepMs === undefined ? keepOthersMs : keepMs);
    }
    this.lanes.fill(lanesOf(expired));
    const next = waiting.reduce((soonest, { expiresAt: at }) => (at > now ? Math.min(soonest, at) : soonest), Infinity);
    return {
      expired: expired.map(({ id, name, queue }) => ({ id, name, queue })),
      nextInMs: next === Infinity ? null : Math.ceil(next - now),
    };
  }

  /** Null: the task was to be cancelled, so the death of its worker has ended it. */
  private rescueOne(task: StoredTask, request: RescueRequest): RescuedTask | null {
    const { maxCrashes, keepFailedMs, keepOthersMs = Infinity, deadLetters = {} } = request;
    const now = this.now();
    if (!task.claimedAhead) task.crashes += 1;
    const wish = task.cancelRequest;
    const quarantined = !wish && task.crashes >= maxCrashes;
    const error = quarantined ? { error: quarantine(task) } : {};
    if (!task.claimedAhead) appendAttempt(task, { number: task.attempt, outcome: 'crashed', ...error }, now);
    if (wish) {
      this.ends.finish(task, 'cancelled', wish.keepMs);
      return null;
    }
    const { id, name, queue, attempt, crashes } = task;
    if (quarantined) {
      const dead = Object.hasOwn(deadLetters, name) ? deadLetters[name] : undefined;
      const keepMs = dead === undefined ? keepFailedMs.get(queue) : Infinity;
      this.ends.finish(task, 'failed', keepMs === undefined ? keepOthersMs : keepMs, dead);
    } else this.lanes.putBack(task, task.scheduledAt);
    return { id, name, queue, attempt, crashes, quarantined };
  }
}

function quarantine({ name, id, crashes }: StoredTask): StoredError {
  const error = new QuarantinedError(name, id, crashes);
  return { name: error.name, message: error.message };
}
