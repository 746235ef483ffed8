export interface ClaimRequest {
  readonly workerId: string;
  readonly queue: string;
  /** The task names that this process has handlers for; all others are left alone. */
  readonly names: readonly string[];
  /** At least 1. */
  readonly limit: number;
  /**
   * How many of them start at once; the rest is claimed ahead, and no crash of this worker counts against it.
   * @default limit
   */
  readonly startNow?: number;
  /**
   * Tasks that so many workers or more have died with are suspects: at most one is taken, before all others, or none.
   * @default suspects are taken like any other
   */
  readonly suspects?: { readonly crashes: number; readonly takeOne: boolean };
  /**
   * Given by a worker that starts what it gets at once, and writes no outcome before the claim is durable, unless it is
   * stopped and has waited a moment: what it writes then is forgotten with the claim, or not at all. Told, before
   * tasks are returned whose claim may still be forgotten, what resolves when it no longer can be, and rejects when nobody
   * knows. A claim number that was forgotten is not given out again.
   */
  readonly early?: (durable: Promise<void>) => void;
}

export interface SettledClaim {
  readonly id: string;
  readonly queue: string;
  readonly claimSeq: number;
}

/** A task that a worker holds according to the store. */
export interface Holding extends SettledClaim {
  /** Whether somebody wants it cancelled. */
  readonly cancelRequested: boolean;
}

/** Names one claim of one task. */
export function claimKey({ id, claimSeq }: Pick<SettledClaim, 'id' | 'claimSeq'>): string {
  return `${id} ${claimSeq}`;
}
