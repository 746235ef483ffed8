import type { ClaimedTask } from './task.js';

/** A slot that is kept for a task about to be enqueued. */
export interface SlotReservation {
  readonly workerId: string;
  /** @param stored Resolves when the enqueue has been answered, if that is not so yet. */
  accept(task: ClaimedTask, stored?: Promise<unknown>): void;
  decline(): void;
  /** The enqueue got no answer: whatever comes of it, the task may be there as claimed, and nobody here knows. */
  unanswered(): void;
}
