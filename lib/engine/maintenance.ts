import { within } from './delay.js';
import { Expirer } from './expirer.js';
import { LaneKeeper } from './lane-keeper.js';
import type { WorkerPoolOptions } from './pool-options.js';
import { type Pruner, prunerOf } from './pruner.js';
import { Rescuer } from './rescuer.js';
import { keepMs } from './retention.js';
import type { FinishedState } from './task.js';
import type { TaskDefinition } from './task-definition.js';
import type { EngineReporter } from './task-event.js';
import type { TaskStore } from './task-store.js';

/** The first look comes before the first task: what it makes ready should be, but nothing depends on it. */
const firstPruneMs = 500;

/** What every process does for all, without a leader: rescue, expiry, admission, and the removal of what is over. */
export class Maintenance {
  readonly lanes: LaneKeeper;
  private readonly rescuer: Rescuer;
  private readonly expirer: Expirer;
  private readonly pruner: Pruner;

  constructor(
    store: TaskStore,
    tasks: ReadonlyMap<string, TaskDefinition>,
    options: WorkerPoolOptions,
    reporter: EngineReporter,
    tell: {
      /** The store has answered. */
      answered(): void;
      /** This queue has work again. */
      rescued(queue: string): void;
    },
    failed: (doing: string, error: unknown) => void,
  ) {
    const { queues, retention, leaseMs, heartbeatMs, maxCrashes } = options;
    const keep = (state: FinishedState) => new Map(queues.map((queue) => [queue.name, keepMs(queue.retention, state)]));
    this.lanes = new LaneKeeper(store, heartbeatMs, failed);
    this.rescuer = new Rescuer(
      store,
      heartbeatMs,
      {
        leaseMs,
        maxCrashes,
        keepFailedMs: keep('failed'),
        keepOthersMs: keepMs(retention, 'failed'),
        deadLetters: deadLettersOf(tasks),
      },
      reporter,
      failed,
      tell,
    );
    this.expirer = new Expirer(
      store,
      heartbeatMs,
      { keepCancelledMs: keep('cancelled'), keepOthersMs: keepMs(retention, 'cancelled') },
      reporter,
      failed,
    );
    this.pruner = prunerOf(store, options, reporter, failed);
  }

  /** Resolves when the first looks have been taken, as far as they are worth waiting for. */
  async start(): Promise<void> {
    this.rescuer.start();
    this.expirer.start();
    this.lanes.start();
    await within(firstPruneMs, this.pruner.start());
  }

  /** Resolves when nothing of it is under way. */
  async stop(): Promise<void> {
    const parts = [this.lanes, this.rescuer, this.expirer, this.pruner];
    await Promise.allSettled(parts.map((part) => part.stop()));
  }
}

/** Task name → queue of its dead letters, of those that have one. */
function deadLettersOf(tasks: ReadonlyMap<string, TaskDefinition>): Record<string, string> {
  return Object.fromEntries([...tasks].flatMap(([name, { deadLetter }]) => (deadLetter ? [[name, deadLetter]] : [])));
}
