import type { PageRequest, TaskFilter, TaskPage } from '../engine/task-store.js';
import { InvalidOptionsError } from '../errors/configuration.errors.js';
import { asTask, type StoredTask } from './stored-task.js';

const maxLimit = 1_000;
const cursorPrefix = 'after:';

/** One page of the tasks that match, by id: UUIDv7 sorts by the time of enqueueing. */
export function pageOf(tasks: Iterable<StoredTask>, filter: TaskFilter, page: PageRequest): TaskPage {
  const limit = checkedLimit(page.limit ?? 100);
  const after = page.after === undefined ? null : decodeCursor(page.after);
  const sign = page.order === 'oldestFirst' ? 1 : -1;
  const rest: StoredTask[] = [];
  for (const task of tasks) {
    if (matches(task, filter) && (after === null || sign * compare(task.id, after) > 0)) rest.push(task);
  }
  rest.sort((one, other) => sign * compare(one.id, other.id));
  const found = rest.slice(0, limit);
  const last = found.at(-1);
  return { tasks: found.map(asTask), next: last && rest.length > limit ? encodeCursor(last.id) : null };
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

function checkedLimit(limit: number): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= maxLimit) return limit;
  throw new InvalidOptionsError(`The page's limit is ${limit}. Pass a whole number from 1 to ${maxLimit}.`);
}

function encodeCursor(id: string): string {
  return Buffer.from(cursorPrefix + id).toString('base64url');
}

function decodeCursor(cursor: string): string {
  const text = Buffer.from(cursor, 'base64url').toString();
  if (text.startsWith(cursorPrefix)) return text.slice(cursorPrefix.length);
  throw new InvalidOptionsError(
    `The page's after is ${JSON.stringify(cursor)}, which no page has given. Pass the next of the page before.`,
  );
}
