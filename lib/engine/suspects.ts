import type { ClaimRequest } from './claim.js';
import type { ClaimedTask } from './task.js';

/**
 * Keeps tasks that may kill their process apart. A crash says little about any one of the tasks that ran: nine of ten
 * only stood beside the killer. So a task that would fail as quarantined at its next crash is a suspect, and a process
 * holds one suspect at a time: when it dies again, one task at most is given up for it, and those beside it are not.
 */
export class Suspects {
  /** The suspect that this process holds, or that a claim under way may bring. */
  private held: string | undefined;

  /**
   * @param crashes From how many crashes on a task is a suspect; at 0 all would be, so none is.
   * @param released Called when another suspect may be claimed.
   */
  constructor(
    private readonly crashes: number,
    private readonly released: () => void,
  ) {}

  /** What a claim is to say that takes no suspect. */
  get takeNone(): ClaimRequest['suspects'] {
    return this.crashes === 0 ? undefined : { crashes: this.crashes, takeOne: false };
  }

  /** What a claim is to say that takes one if this process may hold it. Follow with `claimed`. */
  ask(): ClaimRequest['suspects'] {
    if (this.crashes === 0 || this.held !== undefined) return this.takeNone;
    this.held = 'asked for';
    return { crashes: this.crashes, takeOne: true };
  }

  /** @param tasks What the claim has brought. */
  claimed(asked: ClaimRequest['suspects'], tasks: readonly ClaimedTask[]): void {
    if (asked?.takeOne) this.held = tasks.find((task) => task.crashes >= this.crashes)?.id;
  }

  /** This process no longer holds the task. */
  release({ id }: ClaimedTask): void {
    if (this.held !== id) return;
    this.held = undefined;
    this.released();
  }
}
