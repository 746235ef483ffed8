import { Heap } from './heap.js';
import type { StoredTask } from './stored-task.js';

/** Waiting tasks of which one at a time is wanted: those that are not due yet by time, those that are due in claim order. */
export class WaitingLine {
  private readonly later = new Heap<StoredTask>(dueBefore);
  private readonly due = new Heap<StoredTask>(claimedBefore);

  add(task: StoredTask): void {
    this.later.push(task);
  }

  remove(task: StoredTask): void {
    if (!this.due.remove(task)) this.later.remove(task);
  }

  /** The one to be claimed first. */
  first(now: number): StoredTask | undefined {
    for (let task = this.later.peek(); task && task.scheduledAt <= now; task = this.later.peek()) {
      this.later.remove(task);
      this.due.push(task);
    }
    return this.due.peek();
  }

  /** The one to be claimed first, or else the first to fall due. */
  next(now: number): StoredTask | undefined {
    return this.first(now) ?? this.later.peek();
  }
}

export function claimedBefore(one: StoredTask, other: StoredTask): boolean {
  return one.priority === other.priority ? dueBefore(one, other) : one.priority > other.priority;
}

export function dueBefore(one: StoredTask, other: StoredTask): boolean {
  return one.scheduledAt === other.scheduledAt ? one.id < other.id : one.scheduledAt < other.scheduledAt;
}
