import { TaskState } from '../engine/task.js';
import { type Check, checkOptions, integer, maxKeyLength, maxNameLength, name, oneOf } from './checks.js';

const state = oneOf(...Object.values(TaskState));
const states: Check = (value) => {
  const problem = [value].flat().map(state).find(Boolean);
  return problem && `${problem}, or an array of them`;
};

/** @throws InvalidOptionsError */
export function checkFilter(filter: object): void {
  checkOptions('TaskQueue.list, filter', filter, {
    queue: name(maxNameLength),
    name: name(maxNameLength),
    state: states,
    uniqueKey: name(maxKeyLength),
  });
}

/** @throws InvalidOptionsError */
export function checkPage(page: object): void {
  checkOptions('TaskQueue.list, page', page, {
    limit: integer(1, 1_000),
    after: name(maxKeyLength),
    order: oneOf('newestFirst', 'oldestFirst'),
  });
}
