import { delay } from './delay.js';
import { GroupCommit } from './group-commit.js';
import type { Lease } from './lease.js';
import { type Settlement, stateAfter } from './settlement.js';
import type { TaskState } from './task.js';
import type { TaskStore } from './task-store.js';

/**
 * The state that a task was written to be in, or that the settlement came too late: another claim holds the task, or
 * what was written before it stands.
 */
export type Verdict = TaskState | 'lost' | 'before';

/** A settlement to be written, and who wants to know. */
export interface Settling {
  readonly lease: Lease;
  readonly settlement: Settlement;
  /** What a transaction of the attempt may have settled already: its COMMIT was not answered. */
  readonly before?: Settlement | undefined;
  /** Its enqueue or its claim was not answered, so that the store may have forgotten it. */
  readonly forgotten?: boolean;
  written(verdict: Verdict): void;
}

const maxBatch = 1_000;
/** While the database does not answer, this many settlements may wait before workers stop claiming. */
const backlogLimit = 5_000;

/**
 * Writes settlements, those that are ready at the same time in one statement.
 *
 * While the database is away it tries again for as long as the lease holds: until then nobody else can have the task.
 * The fence makes that safe, with one subtlety: when a try failed after the server had committed it, the next one
 * finds nothing to settle. As long as the lease holds, that can only be this worker's own first try, unless a crash of the
 * server may have undone the claim.
 */
export class Settler {
  private readonly commits: GroupCommit<Settling, Verdict>;
  /** Those of which a try has failed that the server may have committed. */
  private readonly unsure = new WeakSet<Settling>();
  private failing = false;
  private waiting: (() => void)[] = [];

  constructor(
    private readonly store: TaskStore,
    private readonly failed: (doing: string, error: unknown) => void,
  ) {
    this.commits = new GroupCommit((entries) => this.send(entries), {
      maxBatch,
      maxUnderWay: 1,
      divisible: () => true,
      resolve: (entry, verdict) => {
        this.relieve();
        entry.written(verdict);
      },
      reject: (entry, error) => {
        // It may have been carried out all the same; if not, an audit finds the task held by nobody, and gives it back.
        this.failed(`record the outcome of task ${entry.settlement.id}`, error);
        this.relieve();
        entry.written('lost');
      },
    });
  }

  /** Outcomes cannot be written at the moment: each task that starts now is one more that a crash would repeat. */
  get overloaded(): boolean {
    return this.failing || this.commits.size >= backlogLimit;
  }

  /** Never rejects: what cannot be written while the lease holds is lost to this worker, and rescued by another. */
  settle(lease: Lease, settlement: Settlement): Promise<Verdict> {
    return new Promise((written) => this.write({ lease, settlement, written }));
  }

  /** The same for whoever wants no promise. */
  write(settling: Settling): void {
    this.commits.submit(settling);
  }

  /** Resolves when it is no longer overloaded. */
  relieved(): Promise<void> {
    if (!this.overloaded) return Promise.resolve();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  private relieve(): void {
    if (this.waiting.length === 0 || this.overloaded) return;
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  idle(): Promise<void> {
    return this.commits.idle();
  }

  private async send(entries: readonly Settling[]): Promise<Verdict[]> {
    for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 2_000)) {
      try {
        const settled = await this.sendByLease(entries);
        this.failing = false;
        const verdicts = entries.map((entry): Verdict | undefined =>
          settled.get(entry.lease)?.get(entry.settlement.id),
        );
        if (answersOf(settled) < entries.length) loseOlder(entries, verdicts);
        return entries.map((entry, index) => verdicts[index] ?? this.missed(entry));
      } catch (error) {
        for (const entry of entries) this.unsure.add(entry);
        // Something in the entries themselves: let them be tried apart.
        this.failing = this.store.isTransient(error);
        if (!this.failing) throw error;
        this.failed('record outcomes', error);
        await delay(pauseMs);
      }
    }
  }

  /** What it means that there was nothing to settle. */
  private missed(entry: Settling): Verdict {
    if (entry.lease.remainingMs() <= 0 || entry.forgotten) return 'lost';
    const unsure = this.unsure.has(entry);
    // Either the transaction or the failed try has settled it, and nobody knows which: so nothing is claimed.
    if (entry.before) return unsure ? 'lost' : 'before';
    return unsure ? stateAfter(entry.settlement) : 'lost';
  }

  /** Nearly always one lease; two only right after one was lost and taken anew. */
  private async sendByLease(entries: readonly Settling[]): Promise<ReadonlyMap<Lease, ReadonlyMap<string, TaskState>>> {
    const leases = new Set(entries.map(({ lease }) => lease));
    const answers = new Map<Lease, ReadonlyMap<string, TaskState>>();
    for (const lease of leases) {
      if (lease.remainingMs() <= 0) continue;
      const own = leases.size === 1 ? entries : entries.filter((entry) => entry.lease === lease);
      const settlements = own.map(({ settlement }) => settlement);
      answers.set(lease, await this.store.settle(lease.workerId, settlements));
    }
    return answers;
  }
}

function answersOf(settled: ReadonlyMap<Lease, ReadonlyMap<string, TaskState>>): number {
  let count = 0;
  for (const answer of settled.values()) count += answer.size;
  return count;
}

/** The store answers by id. Of two claims of one task only the newer can have been settled. */
function loseOlder(entries: readonly Settling[], verdicts: (Verdict | undefined)[]): void {
  const newest = new Map<string, number>();
  for (const { settlement } of entries) {
    newest.set(settlement.id, Math.max(settlement.claimSeq, newest.get(settlement.id) ?? 0));
  }
  for (const [index, { settlement }] of entries.entries()) {
    if (settlement.claimSeq < (newest.get(settlement.id) ?? 0)) verdicts[index] = 'lost';
  }
}
