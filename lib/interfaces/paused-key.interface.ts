/** A concurrency key that is paused. */
export interface PausedKey {
  readonly queue: string;
  /** The task's name. */
  readonly task: string;
  readonly key: string;
  readonly pausedAt: Date;
}

/** The options of `TaskQueue.pauseKey` and `resumeKey`. */
export interface KeyOptions {
  /** The queue on which the key's tasks are. @default the task's own */
  readonly queue?: string;
}
