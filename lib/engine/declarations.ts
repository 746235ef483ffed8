import type { Declarations } from './control-store.js';
import type { DeclaredLimits } from './limits.js';
import type { QueueDefinition, TaskDefinition } from './task-definition.js';

/** What a process that has these queues and tasks declares of them. */
export function declarationsOf(
  queues: readonly QueueDefinition[],
  tasks: ReadonlyMap<string, TaskDefinition>,
): Declarations {
  const limited = new Map<string, DeclaredLimits>();
  for (const { name, limits } of queues) if (limits) limited.set(name, limits);
  const declared = [...tasks.values()].map(
    ({ name, queue, rateLimit = null }) => [name, { queue, rateLimit }] as const,
  );
  return { queues: limited, tasks: new Map(declared) };
}
