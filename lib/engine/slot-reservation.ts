import type { ClaimedTask } from './task.js';

/** A slot that is kept for a task about to be enqueued. */
export interface SlotReservation {
  readonly workerId: string;
  accept(task: ClaimedTask): void;
  /** @param unsure The enqueue failed without an answer: the task may be there, and claimed. */
  decline(unsure: boolean): void;
}
