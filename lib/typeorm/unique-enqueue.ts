import type { NewTask, Stored } from '../engine/task.js';

/** By which statement a task is stored: what becomes of the holder of its key decides. */
export type EnqueueWay = 'kept' | 'replacing' | 'inWindow';

export function enqueueWay({ unique }: NewTask): EnqueueWay {
  if (unique?.scope === 'window') return 'inWindow';
  return unique?.replace ? 'replacing' : 'kept';
}

/** Tasks of one key that are stored as one, by the first of them. */
export interface Merged {
  readonly task: NewTask;
  readonly followers: readonly NewTask[];
}

/**
 * A statement can change a row once, so it may bring each key once. Nobody can start the first of equal tasks before the
 * last of them is there too, as all are stored by one statement: what would come of them one by one is known before.
 */
export function mergeByKey(tasks: readonly NewTask[]): Merged[] {
  const merged = new Map<string, { task: NewTask; followers: NewTask[] }>();
  for (const task of tasks) {
    const key = JSON.stringify([task.queue, task.name, task.uniqueKey]);
    const there = merged.get(key);
    if (!there) merged.set(key, { task, followers: [] });
    else {
      if (task.unique?.replace) {
        there.task = { ...task, id: there.task.id, due: task.unique.movesDue ? task.due : there.task.due };
      }
      there.followers.push(task);
    }
  }
  return [...merged.values()];
}

/** What has become of those that were stored as one with another. */
export function addFollowers(merged: readonly Merged[], results: Map<string, Stored>): void {
  for (const { task, followers } of merged) {
    const leader = results.get(task.id);
    for (const { id, unique } of leader ? followers : []) {
      if (!leader || id === task.id) continue;
      const after = { id: leader.id, duplicate: true, ...(unique?.replace && { replaced: true }) };
      results.set(id, leader.duplicate ? leader : after);
    }
  }
}
