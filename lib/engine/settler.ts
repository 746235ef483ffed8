import { GroupCommit } from './group-commit.js';
import { delay } from './delay.js';
import type { Lease, Settlement, TaskStore } from './task-store.js';

/** Whether a settlement was written, or came too late because another claim holds the task. */
export type Verdict = 'settled' | 'lost';

interface Entry {
  readonly lease: Lease;
  readonly settlement: Settlement;
}

const maxBatch = 1_000;
/** While the database does not answer, this many settlements may wait before workers stop claiming. */
const backlogLimit = 5_000;

/**
 * Writes settlements, those that are ready at the same time in one statement.
 *
 * While the database is away it tries again for as long as the lease holds: until then nobody else can have the task.
 * The fence makes that safe, with one subtlety: when a try failed after the server had committed it, the next one
 * finds nothing to settle. As long as the lease holds, that can only be this worker's own first try.
 */
export class Settler {
  private readonly commits: GroupCommit<Entry, Verdict>;
  /** Those of which a try has failed that the server may have committed. */
  private readonly unsure = new WeakSet<Entry>();

  constructor(
    private readonly store: TaskStore,
    private readonly failed: (doing: string, error: unknown) => void,
  ) {
    this.commits = new GroupCommit((entries) => this.write(entries), {
      maxBatch,
      maxUnderWay: 1,
      divisible: () => true,
    });
  }

  get overloaded(): boolean {
    return this.commits.size >= backlogLimit;
  }

  /** Never rejects: what cannot be written while the lease holds is lost to this worker, and rescued by another. */
  async settle(lease: Lease, settlement: Settlement): Promise<Verdict> {
    try {
      return await this.commits.submit({ lease, settlement });
    } catch (error) {
      // It may have been carried out all the same; if not, an audit finds the task held by nobody, and gives it back.
      this.failed(`record the outcome of task ${settlement.id}`, error);
      return 'lost';
    }
  }

  idle(): Promise<void> {
    return this.commits.idle();
  }

  private async write(entries: readonly Entry[]): Promise<Verdict[]> {
    for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 2_000)) {
      const alive = entries.filter((entry) => entry.lease.remainingMs() > 0);
      try {
        const settled = await this.writeByWorker(alive);
        return entries.map((entry) => {
          if (settled.has(entry.settlement.id)) return 'settled';
          return this.unsure.has(entry) && entry.lease.remainingMs() > 0 ? 'settled' : 'lost';
        });
      } catch (error) {
        for (const entry of entries) this.unsure.add(entry);
        // Something in the entries themselves: let them be tried apart.
        if (!this.store.isTransient(error)) throw error;
        await delay(pauseMs);
      }
    }
  }

  /** Nearly always one worker; two only right after a lease was lost and taken anew. */
  private async writeByWorker(entries: readonly Entry[]): Promise<ReadonlySet<string>> {
    const settled = new Set<string>();
    for (const workerId of new Set(entries.map((entry) => entry.lease.workerId))) {
      const own = entries.filter((entry) => entry.lease.workerId === workerId);
      const ids = await this.store.settle(
        workerId,
        own.map((entry) => entry.settlement),
      );
      for (const id of ids) settled.add(id);
    }
    return settled;
  }
}
