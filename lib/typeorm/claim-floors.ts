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

/** A claim from the beginning that takes longer steps over much that is dead; in milliseconds. */
const slowMs = 40;
/** Looks from the beginning may take this fraction of the time, but one comes at least this often, in milliseconds. */
const costFraction = 0.05;
const lookBelowAtLeastEveryMs = 5_000;

/**
 * Remembers how far the head of a queue is known to be empty, so that claims under load begin there while claims from the
 * very beginning are slow. They are so while another session holds an old snapshot: PostgreSQL cannot remove the index
 * entries of tasks that have passed then, and every claim steps over all of them.
 *
 * What comes to lie below the floor, when a long transaction commits or another process gives a task back, is found by
 * the next look from the beginning: one comes every so often, and one follows at once when a claim from the floor has
 * found too little. Without load, or while looks are quick, there is no floor and the order is strict.
 */
export class ClaimFloors {
  private readonly heads = new Map<string, Head>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Where the next claim of these names may begin; null: at the very beginning. */
  of(queue: string, names: readonly string[]): Floor | null {
    const head = this.heads.get(keyOf(queue, names));
    return head && this.now() < head.lookBelowAt ? head.floor : null;
  }

  /** A claim that began at `from` came back full with this task as its last, or short (undefined), and took so long. */
  passed(
    queue: string,
    names: readonly string[],
    last: ClaimedTask | undefined,
    from: Floor | null,
    tookMs: number,
  ): void {
    const key = keyOf(queue, names);
    const before = this.heads.get(key);
    if (!last || (!from && tookMs < slowMs)) {
      this.heads.delete(key);
      return;
    }
    const pauseMs = Math.min(tookMs / costFraction, lookBelowAtLeastEveryMs);
    const lookBelowAt = from && before ? before.lookBelowAt : this.now() + pauseMs;
    this.heads.set(key, { floor: floorAt(last), lookBelowAt });
  }

  /** Tasks of any queue were given back, maybe below the floor. */
  reset(): void {
    this.heads.clear();
  }
}

function floorAt({ priority, scheduledAt, id }: ClaimedTask): Floor {
  return { priority, scheduledAt: Math.round(scheduledAt * 1_000), id };
}

/** A claim passes over tasks of other names, so what it has passed is known for its own names only. */
function keyOf(queue: string, names: readonly string[]): string {
  return JSON.stringify([queue, ...names]);
}
