import type { WriteAnswer } from './held-task.js';
import type { ClaimedTask } from './task.js';

/** A slot that is kept for a task about to be enqueued. */
export interface SlotReservation {
  readonly workerId: string;
  /** Whether the task may start before its enqueue is answered: not if it commits writes of its own with its outcome. */
  readonly early: boolean;
  /** @param answer Of the enqueue, if it is open. */
  accept(task: ClaimedTask, answer?: WriteAnswer): void;
  decline(): void;
  /** The enqueue got no answer: whatever comes of it, the task may be there as claimed, and nobody here knows. */
  unanswered(): void;
}
