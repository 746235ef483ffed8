import type { ClaimedTask } from '../engine/task.js';

/** A place in a queue's order of claiming. */
export interface Floor {
  readonly priority: number;
  /** Microseconds since 1970. */
  readonly scheduledAt: number;
  readonly id: string;
}

interface Head {
  floor: Floor | null;
  /** When the next claim begins at the very beginning. */
  lookBelowAt: number;
}

const lookBelowEveryMs = 1_000;
/** Looks from the beginning may take this fraction of the time. */
const costFraction = 0.05;

/**
 * Remembers how far the head of each queue is known to be empty, so that claims under load begin there. While another
 * session holds an old snapshot, PostgreSQL cannot remove the index entries of tasks that have passed, and every claim
 * from the very beginning would step over all of them.
 *
 * Tasks below the floor come into being when a long transaction commits, or a task is given back. The next look from the
 * beginning finds them: one comes every second under load, less often only while such looks are slow, and one follows
 * whenever a claim from the floor has found too little.
 */
export class ClaimFloors {
  private readonly heads = new Map<string, Head>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Where the next claim may begin; null: at the very beginning. */
  of(queue: string): Floor | null {
    const head = this.heads.get(queue);
    return head && this.now() < head.lookBelowAt ? head.floor : null;
  }

  /** A claim that began at `from` ended with this task, in the order of claiming, and took so long. */
  passed(queue: string, last: ClaimedTask | undefined, from: Floor | null, tookMs: number): void {
    const head = this.heads.get(queue) ?? { floor: null, lookBelowAt: 0 };
    if (last) head.floor = { priority: last.priority, scheduledAt: Math.round(last.scheduledAt * 1_000), id: last.id };
    if (!from) head.lookBelowAt = this.now() + Math.max(lookBelowEveryMs, tookMs / costFraction);
    this.heads.set(queue, head);
  }
}
