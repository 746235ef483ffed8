import type { StoredTask } from './stored-task.js';
import { claimedBefore, WaitingLine } from './waiting-line.js';

/**
 * The tasks that wait, in the order in which they are claimed. Each task name of a queue has a line of its own, so that
 * a claim for some names never steps over tasks of others.
 */
export class ReadyTasks {
  private readonly lines = new Map<string, Map<string, WaitingLine>>();

  add(task: StoredTask): void {
    let queue = this.lines.get(task.queue);
    if (!queue) this.lines.set(task.queue, (queue = new Map<string, WaitingLine>()));
    let line = queue.get(task.name);
    if (!line) queue.set(task.name, (line = new WaitingLine()));
    line.add(task);
  }

  remove(task: StoredTask): void {
    this.lines.get(task.queue)?.get(task.name)?.remove(task);
  }

  /** Takes at most `limit` tasks that are due and `wanted`: by priority, then due time, then id. */
  take(
    queue: string,
    names: readonly string[],
    limit: number,
    now: number,
    wanted: (task: StoredTask) => boolean,
  ): StoredTask[] {
    const named = this.lines.get(queue);
    const lines = [...new Set(names)].map((name) => named?.get(name)).filter((line) => line !== undefined);
    const taken: StoredTask[] = [];
    const passedOver: StoredTask[] = [];
    while (taken.length < limit) {
      let first: StoredTask | undefined;
      for (const line of lines) {
        const candidate = line.first(now);
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
