import type { Control, DeclaredLimits, LimitChanges, QueueLimits, RateLimit } from './limits.js';

/** What a process declares at its start. */
export interface Declarations {
  /** Each queue that its options name. */
  readonly queues: ReadonlyMap<string, DeclaredLimits>;
  /** Each task that it has, with the queue that it declares. */
  readonly tasks: ReadonlyMap<string, { readonly queue: string; readonly rateLimit: RateLimit | null }>;
}

/**
 * Where limits and pauses are kept that hold for all processes: part of the storage contract. Whatever changes is told to
 * listeners as the hint `control`.
 */
export abstract class ControlStore {
  /**
   * Takes down what this process declares of its queues and tasks, in place of what was declared of them before. Of others
   * it says nothing. What was set at run time goes on winning.
   */
  abstract declare(declarations: Declarations): Promise<void>;
  abstract read(): Promise<Control>;
  abstract setLimits(queue: string, changes: LimitChanges): Promise<void>;
  abstract limits(queue: string): Promise<QueueLimits>;
  /** Forgets the rate limit that was declared of a task, until it is declared again. */
  abstract forgetTaskLimit(name: string): Promise<void>;
  /** Lets no process start tasks of this name. */
  abstract pauseTask(name: string): Promise<void>;
  abstract resumeTask(name: string): Promise<void>;
  /** In their order. */
  abstract pausedTasks(): Promise<readonly string[]>;
}
