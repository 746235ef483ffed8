import type { PageRequest, TaskFilter, TaskPage } from '../engine/task-store.js';
import { cursorAfter, readPage } from '../engine/page-cursor.js';
import type { StoredTask } from './stored-task.js';
import { asTask } from './task-views.js';

/** One page of the tasks that match, by id: UUIDv7 sorts by the time of enqueueing. */
export function pageOf(tasks: Iterable<StoredTask>, filter: TaskFilter, request: PageRequest): TaskPage {
  const { limit, after, oldestFirst } = readPage(request);
  const sign = oldestFirst ? 1 : -1;
  const rest: StoredTask[] = [];
  for (const task of tasks) {
    if (matches(task, filter) && (after === null || sign * compare(task.id, after) > 0)) rest.push(task);
  }
  rest.sort((one, other) => sign * compare(one.id, other.id));
  const found = rest.slice(0, limit);
  const last = found.at(-1);
  return { tasks: found.map(asTask), next: last && rest.length > limit ? cursorAfter(last.id) : null };
}

function matches(task: StoredTask, { queue, name, state, uniqueKey }: TaskFilter): boolean {
  return (
    (queue === undefined || task.queue === queue) &&
    (name === undefined || task.name === name) &&
    (state === undefined || (typeof state === 'string' ? task.state === state : state.includes(task.state))) &&
    (uniqueKey === undefined || task.uniqueKey === uniqueKey)
  );
}

function compare(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}
