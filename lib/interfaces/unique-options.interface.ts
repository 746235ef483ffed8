/** What becomes of an enqueue whose unique key is held. */
export const OnConflict = {
  /** The task that holds the key stays as it is. The default. */
  keep: 'keep',
  /** It gets the new payload and options, unless it has started. */
  replace: 'replace',
  /** The same, and it is due `within` milliseconds from now: once nothing has been enqueued for that long. */
  debounce: 'debounce',
} as const;
export type OnConflict = (typeof OnConflict)[keyof typeof OnConflict];

/** For how long a task holds its unique key. */
export const UniqueScope = {
  /** While it is ready or runs. The default. */
  live: 'live',
  /** Until it starts: one that runs does not block the next. */
  waiting: 'waiting',
} as const;
export type UniqueScope = (typeof UniqueScope)[keyof typeof UniqueScope];

/** How a task is unique. */
export interface UniqueOptions<Key> {
  /** 1 to 255 characters; in `@BackgroundTask`, a function that makes them from the payload, or `true` for all of it. */
  readonly key: Key;
  /** For how long the key is held. Not together with `within`, which says that too. @default 'live' */
  readonly scope?: UniqueScope | undefined;
  /**
   * Milliseconds. The key is held for so long after the enqueue, whether its task still lives or not, and no longer. With
   * `debounce`: how long it must be quiet before the task runs.
   */
  readonly within?: number | undefined;
  /** What becomes of the task that holds the key. @default 'keep' */
  readonly onConflict?: OnConflict | undefined;
}
