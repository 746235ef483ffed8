import type { ClaimedTask } from '../engine/task.js';
import type { LimitedClaim } from '../engine/limits.js';
import type { ClaimRequest } from '../engine/task-store.js';
import type { ClaimBase } from './claim-base.js';
import { ClaimFloors, type Floor } from './claim-floors.js';
import type { Database, Run, Statement } from './database.js';
import { claimedTask } from './task-row.js';
import type { TextRow } from './text-query.js';

interface ClaimStatements {
  readonly claim: Statement;
  readonly claimSuspect: Statement;
  readonly claimLimited: Statement;
  readonly claimedTasks: Statement;
  readonly flush: Statement;
}

/** More than any task has. */
const noCrashes = 2 ** 31 - 1;

/** Takes due tasks of a queue in their order, from where its head is known to begin. */
export class Claimer {
  private readonly floors = new ClaimFloors();

  constructor(
    private readonly run: Run,
    private readonly database: Pick<Database, 'runEarly'>,
    private readonly base: ClaimBase,
    private readonly statements: ClaimStatements,
  ) {}

  async claim(request: ClaimRequest): Promise<ClaimedTask[]> {
    if (!request.suspects?.takeOne) return this.claimOthers(request);
    const { workerId, queue, names, limit, startNow = limit, suspects } = request;
    const values = [workerId, queue, names, suspects.crashes, startNow];
    const rows = await this.base.with(() => this.run(this.statements.claimSuspect, values));
    const suspect = rows.map((row) => claimedTask(queue, row));
    const rest = without(request, suspect.length);
    // Should this fail, the worker's audit finds what it holds without knowing, the suspect included.
    return rest.limit > 0 ? [...suspect, ...(await this.claimOthers(rest))] : suspect;
  }

  /**
   * By a statement of its own, which knows no floor: it seldom reads far. What it has claimed is read by a second one, which
   * locks nothing, however slowly this process takes it. Should that fail, the worker's audit finds what it holds without
   * knowing.
   */
  async claimLimited({ workerId, queue, names, limit, suspects }: ClaimRequest): Promise<LimitedClaim> {
    const crashes = suspects?.crashes ?? noCrashes;
    const values = [workerId, queue, names, limit, crashes, suspects?.takeOne ?? false];
    const rows = await this.base.with(() => this.run(this.statements.claimLimited, values));
    const inMs = rows.at(-1)?.at(-1);
    const claims = rows.filter(([id]) => id !== null);
    return {
      tasks: claims.length > 0 ? await this.read(workerId, queue, claims) : [],
      nextInMs: inMs == null ? null : Math.max(0, Math.ceil(Number(inMs))),
    };
  }

  /** Tasks of any queue were given back, maybe before where its head was known to begin. */
  gaveBack(): void {
    this.floors.reset();
  }

  /** @param claims Ids and claim numbers. */
  private async read(workerId: string, queue: string, claims: readonly TextRow[]): Promise<ClaimedTask[]> {
    const values = [workerId, queue, claims.map(([id]) => id), claims.map(([, claimSeq]) => claimSeq)];
    const rows = await this.run(this.statements.claimedTasks, values);
    return rows.map((row) => claimedTask(queue, row)).toSorted(inClaimOrder);
  }

  private async claimOthers(request: ClaimRequest): Promise<ClaimedTask[]> {
    const { queue, names, limit, early } = request;
    const floor = this.floors.of(queue, names);
    if (!floor) return this.claimFrom(null, request, early);
    // The flush of one says nothing of the other.
    const claimed = await this.claimFrom(floor, request);
    if (claimed.length === limit) return claimed;
    // A claim that comes back short tells its worker that the queue is empty, so that had better be true.
    const below = await this.claimFrom(null, without(request, claimed.length));
    return [...claimed, ...below].toSorted(inClaimOrder);
  }

  private async claimFrom(
    floor: Floor | null,
    { workerId, queue, names, limit, startNow = limit, suspects }: ClaimRequest,
    early?: ClaimRequest['early'],
  ): Promise<ClaimedTask[]> {
    const sentAt = performance.now();
    const place = [floor?.priority ?? null, floor?.scheduledAt ?? null, floor?.id ?? null];
    const crashes = suspects?.crashes ?? noCrashes;
    const known = [workerId, queue, names, limit, startNow, ...place, crashes];
    const values = (ahead: boolean) => [...known, ahead && early !== undefined];
    const { claim, flush } = this.statements;
    const isAhead = ([row]: readonly TextRow[]) => row?.at(-1) != null;
    const { rows, durable } = await this.base.with(() => this.database.runEarly(claim, values, flush, isAhead));
    if (durable) early?.(durable);
    // UPDATE … RETURNING knows no order.
    const claimed = rows.map((row) => claimedTask(queue, row)).toSorted(inClaimOrder);
    const last = claimed.length === limit ? claimed.at(-1) : undefined;
    this.floors.passed(queue, names, last, floor, performance.now() - sentAt);
    return claimed;
  }
}

/** What is left of a request when so many have been claimed. */
function without(request: ClaimRequest, claimed: number): ClaimRequest {
  const { limit, startNow = limit } = request;
  return { ...request, limit: limit - claimed, startNow: Math.max(0, startNow - claimed) };
}

function inClaimOrder(a: ClaimedTask, b: ClaimedTask): number {
  return b.priority - a.priority || a.scheduledAt - b.scheduledAt || (a.id < b.id ? -1 : 1);
}
