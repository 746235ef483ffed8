import type { SettledClaim } from './claim.js';
import type { Lease } from './lease.js';
import type { ClaimedTask } from './task.js';

/** What has come of the write by which a task is held here, its enqueue or its claim, when it starts before that is answered. */
export interface WriteAnswer {
  /** Undefined as long as it is open; false when it failed, so that the task or its claim may be forgotten. */
  readonly stored: boolean | undefined;
  /** Monotonic milliseconds since when it is open no more; Infinity as long as it is. */
  readonly givenAt: number;
  /** Whether what may be forgotten is written again, for the attempt that has started: an enqueue is, a claim is not. */
  readonly repeated: boolean;
  /** Resolves when it is open no more. */
  readonly given: Promise<void>;
}

/** @param writing Resolves when what was written is on the disk. */
export function answerOf(writing: Promise<unknown>, { repeated }: Pick<WriteAnswer, 'repeated'>): WriteAnswer {
  const give = (stored: boolean) => Object.assign(answer, { stored, givenAt: performance.now() });
  const answer: WriteAnswer = {
    stored: undefined,
    givenAt: Infinity,
    repeated,
    given: writing.then(
      () => void give(true),
      () => void give(false),
    ),
  };
  return answer;
}

/** A task that this process holds, and the lease that covers it. */
export interface HeldTask {
  readonly task: ClaimedTask;
  readonly lease: Lease;
  /** Monotonic milliseconds until which it may start; never late, since they count from before its claim was sent. */
  readonly startBy: number;
  /** Monotonic milliseconds since when it is held here. */
  readonly since: number;
  /** As long as it is open its outcome waits, at the end of a drain for a moment. */
  readonly answer?: WriteAnswer | undefined;
}

/**
 * @param claimedAt Monotonic milliseconds of a moment before its claim was sent.
 * @param since When it came.
 */
export function heldTask(
  task: ClaimedTask,
  lease: Lease,
  claimedAt: number,
  since: number,
  answer?: WriteAnswer,
): HeldTask {
  return { task, lease, startBy: task.expiresInMs == null ? Infinity : claimedAt + task.expiresInMs, since, answer };
}

/** Whether its claim may be forgotten, so that others may start it: an enqueue would have been made again. */
export function mayBeForgotten({ answer }: Pick<HeldTask, 'answer'>): boolean {
  return answer?.stored === false && !answer.repeated;
}

/** Whether it is held by this claim of it, and not by another. */
export function isHeldBy({ task }: Pick<HeldTask, 'task'>, { id, claimSeq }: SettledClaim): boolean {
  return task.id === id && task.claimSeq === claimSeq;
}
