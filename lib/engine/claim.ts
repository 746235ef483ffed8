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
