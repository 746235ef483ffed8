import type { NewTask } from '../engine/task.js';

/** What decides how new tasks are stored, and who is told of them. */

/** Whether nothing is said of this task that only some statements know. */
export function isPlain(task: NewTask): boolean {
  return task.uniqueKey === null && task.expiresInMs === undefined && task.rateKey === undefined && !isKeyed(task);
}

/** Whether the quickest statement for many knows these, `head` being one of them: they differ in nothing but id and payload. */
export function areAlike(head: NewTask, tasks: readonly NewTask[]): boolean {
  return tasks.every((task) => isPlain(task) && task.handTo === undefined && sharesHead(head, task));
}

/** Whether they differ in id, key and payload at most. */
export function sharesHead(a: NewTask, b: NewTask): boolean {
  return (
    (a.due === b.due || ('inMs' in a.due && 'inMs' in b.due && a.due.inMs === b.due.inMs)) &&
    a.queue === b.queue &&
    a.name === b.name &&
    a.priority === b.priority &&
    a.maxRetries === b.maxRetries &&
    a.timeoutMs === b.timeoutMs &&
    a.handTo === b.handTo &&
    a.expiresInMs === b.expiresInMs &&
    a.unique === b.unique &&
    a.rateKey === b.rateKey &&
    a.laneLimit === b.laneLimit &&
    (a.lane == null) === (b.lane == null)
  );
}

/** Whether it is parked, so that nobody needs to be told of it before it is admitted. */
export function isKeyed({ lane }: NewTask): boolean {
  return lane != null;
}

export function isUnique({ uniqueKey }: NewTask): boolean {
  return uniqueKey !== null;
}

/** So that producers of the same keys wait for each other in one order. */
export function inKeyOrder(tasks: readonly NewTask[]): readonly NewTask[] {
  if (!tasks.some(isUnique)) return tasks;
  return tasks.toSorted((one, other) => compare(one.uniqueKey ?? '', other.uniqueKey ?? ''));
}

function compare(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}

/** For hints only: what is due is decided by the database's clock. */
export function dueInMs({ due }: NewTask): number {
  return 'inMs' in due ? due.inMs : due.at.getTime() - Date.now();
}
