import type { Lane, PausedLane } from './lane.js';

/**
 * Concurrency keys: part of the storage contract.
 *
 * A task with a key is stored *parked* in its lane: no claim sees it. *Admission* gives it its place among the ready ones,
 * and at most as many tasks of a lane as its limit says have one, until they have ended. So claims need not look at limits
 * at all, and a limit holds by construction, whoever dies when.
 *
 * The order of admission: who has started before (a pause had parked it); then what is due, by priority, due time and id;
 * then what falls due first. A task that has its place, but is not due yet and has never started, gives way to one that
 * comes before it.
 */
export abstract class LaneStore {
  /**
   * Gives the next tasks of these lanes their place, as far as limits and pauses allow, and wakes the workers; in a lane
   * that is paused, parks what has its place but does not run. Idempotent; any number of processes may call it at once.
   *
   * All other methods of the store that give a place free or fill a lane do so themselves before they resolve, except
   * `settle`, which would keep other tasks waiting: its callers follow it with this.
   */
  abstract admit(lanes: readonly Lane[]): Promise<void>;
  /** Does the same for lanes that somebody died over before admission; looks at a part of the lanes at each call. */
  abstract sweep(): Promise<void>;
  /** Lets no task of the lane start, now and after restarts; what runs goes on. */
  abstract pause(lane: Lane): Promise<void>;
  abstract resume(lane: Lane): Promise<void>;
  /** In the order of their queue, name and key. */
  abstract paused(): Promise<readonly PausedLane[]>;
}
