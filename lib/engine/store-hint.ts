/** What a store tells its listeners. A hint, never needed: it may be lost, doubled or late. */
export type StoreHint =
  /**
   * Something is due on this queue in so many milliseconds, so many tasks if that is known; without a queue: on any, after
   * a new connection.
   */
  | { readonly kind: 'wake'; readonly queue?: string; readonly inMs?: number; readonly count?: number }
  /** Somebody wants this running task cancelled; `holdings` tells whether that is so, and in which claim. */
  | { readonly kind: 'cancel'; readonly id: string }
  /** A task that somebody awaits has ended. */
  | { readonly kind: 'ended'; readonly id: string }
  /** A schedule was made, changed or resumed. */
  | { readonly kind: 'schedule' }
  /** Limits or pauses have changed. */
  | { readonly kind: 'control' }
  /** A worker was taken for dead, and its tasks were given away. */
  | { readonly kind: 'buried'; readonly workerId: string }
  /** No hints will come, for this reason; polling has to do. */
  | { readonly kind: 'deaf'; readonly reason: string };

/** A subscription to hints. */
export interface Listening {
  /** Whether hints arrive at the moment, as far as is known. */
  readonly live: boolean;
  stop(): Promise<void>;
}
