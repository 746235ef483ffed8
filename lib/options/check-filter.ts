import { TaskState } from '../engine/task.js';
import { InvalidOptionsError } from '../errors/configuration.errors.js';
import { type Check, checkOptions, integer, maxKeyLength, maxNameLength, name, oneOf } from './checks.js';

const statesOf =
  (...states: readonly TaskState[]): Check =>
  (value) => {
    const problem = [value]
      .flat()
      .map(oneOf(...states))
      .find(Boolean);
    return problem && `${problem}, or an array of them`;
  };

const date: Check = (value) => (value instanceof Date && !Number.isNaN(value.getTime()) ? undefined : 'a valid Date');

const filterChecks: Record<string, Check> = {
  queue: name(maxNameLength),
  name: name(maxNameLength),
  state: statesOf(...Object.values(TaskState)),
  uniqueKey: name(maxKeyLength),
};

/** The states that each bulk call can change. */
export const bulkStates = {
  cancelMany: ['ready', 'running'],
  retryMany: ['failed', 'cancelled'],
  removeMany: ['ready', 'done', 'failed', 'cancelled'],
} as const satisfies Record<string, readonly TaskState[]>;

/** @throws InvalidOptionsError */
export function checkFilter(filter: object): void {
  checkOptions('TaskQueue.list, filter', filter, filterChecks);
}

/** @throws InvalidOptionsError */
export function checkBulkFilter(method: keyof typeof bulkStates, filter: unknown): void {
  const where = `TaskQueue.${method}, filter`;
  if (filter === undefined) throw new InvalidOptionsError(`${where}: there is none. Pass {} for all tasks.`);
  checkOptions(where, filter, { ...filterChecks, state: statesOf(...bulkStates[method]), before: date });
  refuseUndefined(where, filter as object);
}

/** A value that went missing on its way here would widen the filter, at worst to all tasks. */
function refuseUndefined(where: string, filter: object): void {
  const missing = Object.entries(filter).find(([, value]) => value === undefined);
  if (!missing) return;
  throw new InvalidOptionsError(
    `${where}: ${missing[0]} is undefined, and would not narrow the tasks down. Give it a value, or leave it out.`,
  );
}

/** @throws InvalidOptionsError */
export function checkRedriveFilter(queue: string, filter: { readonly deadFrom?: string }): void {
  const where = 'TaskQueue.redrive, filter';
  const { queue: _, state: __, ...checks } = filterChecks;
  checkOptions(where, filter, { deadFrom: name(maxNameLength), ...checks, before: date });
  refuseUndefined(where, filter);
  if (filter.deadFrom !== queue) return;
  throw new InvalidOptionsError(
    `${where}: deadFrom is ${JSON.stringify(queue)}, so that queue would be sent back to itself. ` +
      `Name the queue that the dead letters came from, or leave it out for all of them.`,
  );
}

/** @throws InvalidOptionsError */
export function checkPage(page: object): void {
  checkOptions('TaskQueue.list, page', page, {
    limit: integer(1, 1_000),
    after: name(maxKeyLength),
    order: oneOf('newestFirst', 'oldestFirst'),
  });
}
