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
/** What made a look slow may have been a lock or the network: under load the next one must not wait for minutes. */
const lookBelowAtLeastEveryMs = 5_000;
/** Looks from the beginning may take this fraction of the time. */
const costFraction = 0.05;

/**
 * Remembers how far the head of each queue is known to be empty, so that claims under load begin there. While another
 * session holds an old snapshot, PostgreSQL cannot remove the index entries of tasks that have passed, and every claim
 * from the very beginning would step over all of them.
 *
 * Tasks below the floor come into being when a long transaction commits, or a task is given back. The next look from the
 * beginning finds them: one comes every second under load, less often only while such looks are slow, one follows at
 * once when a claim from the floor has found too little, and without load there is no floor.
 */
export class ClaimFloors {
  private readonly heads = new Map<string, Head>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Where the next claim may begin; null: at the very beginning. */
  of(queue: string): Floor | null {
    const head = this.heads.get(queue);
    return head && this.now() < head.lookBelowAt ? head.floor : null;
  }

  /** A claim that began at `from` came back full with this task as its last, or short (undefined), and took so long. */
  passed(queue: string, last: ClaimedTask | undefined, from: Floor | null, tookMs: number): void {
    const head = this.heads.get(queue) ?? { floor: null, lookBelowAt: 0 };
    head.floor = last ? floorAt(last) : null;
    if (!from) {
      const pauseMs = Math.max(lookBelowEveryMs, tookMs / costFraction);
      head.lookBelowAt = this.now() + Math.min(pauseMs, lookBelowAtLeastEveryMs);
    }
    this.heads.set(queue, head);
  }
}

function floorAt({ priority, scheduledAt, id }: ClaimedTask): Floor {
  return { priority, scheduledAt: Math.round(scheduledAt * 1_000), id };
}
