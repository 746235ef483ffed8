import type { TaskDefinition } from './engine/task-definition.js';
import type { TaskStore } from './engine/task-store.js';
import { TransactionsUnsupportedError } from './errors/transaction.errors.js';
import { QueueNotConfiguredError } from './errors/configuration.errors.js';
import type { BackgroundTaskOptions } from './interfaces/background-task-options.interface.js';
import type { BackgroundTaskExplorer, ExploredTask } from './background-task.explorer.js';
import type { ResolvedOptions } from './options/resolve-options.js';

/** Task name → definition, for the tasks of one module instance. */
export class TaskRegistry {
  private explored: ReadonlyMap<string, ExploredTask> | undefined;

  constructor(
    private readonly explorer: BackgroundTaskExplorer,
    private readonly options: ResolvedOptions,
    private readonly store: Pick<TaskStore, 'transactions' | 'description'>,
  ) {}

  /** What the task of this name declares, if it is registered here. */
  declarationOf(name: string): BackgroundTaskOptions | undefined {
    // A provider may enqueue while others have yet to be created: what is found then is not all, and not kept.
    return (this.explored ?? this.explorer.explore(this.options)).get(name)?.declared;
  }

  /**
   * Looks for the tasks, once every provider was created.
   *
   * @throws DuplicateTaskNameError and MissingHandlerError
   */
  check(): ReadonlyMap<string, ExploredTask> {
    this.explored = this.explorer.explore(this.options);
    return this.explored;
  }

  /**
   * The tasks that this process works on.
   *
   * @throws QueueNotConfiguredError when one of them runs on a queue that the options do not name;
   * TransactionsUnsupportedError when one is transactional and the store has no transactions.
   */
  workable(): ReadonlyMap<string, TaskDefinition> {
    const queues = new Set(this.options.queues.map(({ name }) => name));
    const definitions = [...this.check().values()].map(({ definition }) => definition);
    const strays = definitions.filter((task) => !queues.has(task.queue));
    const [first] = strays;
    if (first) {
      const names = strays.filter((task) => task.queue === first.queue).map((task) => task.name);
      throw new QueueNotConfiguredError(first.queue, names);
    }
    const transactional = definitions.filter(({ transaction }) => transaction).map(({ name }) => name);
    if (transactional.length > 0 && !this.store.transactions) {
      throw new TransactionsUnsupportedError(transactional, this.store.description);
    }
    return new Map(definitions.map((definition) => [definition.name, definition]));
  }
}
