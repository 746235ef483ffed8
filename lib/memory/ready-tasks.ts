import { Heap } from './heap.js';
import type { StoredTask } from './stored-task.js';

/**
 * The tasks that wait, in the order in which they are claimed. Each task name of a queue has a lane of its own, so that
 * a claim for some names never steps over tasks of others.
 */
export class ReadyTasks {
  private readonly lanes = new Map<string, Map<string, Lane>>();

  add(task: StoredTask): void {
    let queue = this.lanes.get(task.queue);
    if (!queue) this.lanes.set(task.queue, (queue = new Map<string, Lane>()));
    let lane = queue.get(task.name);
    if (!lane) queue.set(task.name, (lane = new Lane()));
    lane.add(task);
  }

  remove(task: StoredTask): void {
    this.lanes.get(task.queue)?.get(task.name)?.remove(task);
  }

  /** Takes at most `limit` tasks that are due and `wanted`: by priority, then due time, then id. */
  take(
    queue: string,
    names: readonly string[],
    limit: number,
    now: number,
    wanted: (task: StoredTask) => boolean,
  ): StoredTask[] {
    const named = this.lanes.get(queue);
    const lanes = [...new Set(names)].map((name) => named?.get(name)).filter((lane) => lane !== undefined);
    const taken: StoredTask[] = [];
    const passedOver: StoredTask[] = [];
    while (taken.length < limit) {
      let first: StoredTask | undefined;
      for (const lane of lanes) {
        const candidate = lane.first(now);
        if (candidate && (!first || claimedBefore(candidate, first))) first = candidate;
      }
      if (!first) break;
      this.remove(first);
      (wanted(first) ? taken : passedOver).push(first);
    }
    for (const task of passedOver) this.add(task);
    return taken;
  }
}

/** Waiting tasks of one name and queue: those that are not due yet by time, those that are due in claim order. */
class Lane {
  private readonly later = new Heap<StoredTask>(dueBefore);
  private readonly due = new Heap<StoredTask>(claimedBefore);

  add(task: StoredTask): void {
    this.later.push(task);
  }

  remove(task: StoredTask): void {
    if (!this.due.remove(task)) this.later.remove(task);
  }

  first(now: number): StoredTask | undefined {
    for (let task = this.later.peek(); task && task.scheduledAt <= now; task = this.later.peek()) {
      this.later.remove(task);
      this.due.push(task);
    }
    return this.due.peek();
  }
}

function claimedBefore(one: StoredTask, other: StoredTask): boolean {
  return one.priority === other.priority ? dueBefore(one, other) : one.priority > other.priority;
}

function dueBefore(one: StoredTask, other: StoredTask): boolean {
  return one.scheduledAt === other.scheduledAt ? one.id < other.id : one.scheduledAt < other.scheduledAt;
}
