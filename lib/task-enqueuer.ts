import { delay } from './engine/delay.js';
import { GroupCommit } from './engine/group-commit.js';
import { answerOf, type WriteAnswer } from './engine/held-task.js';
import type { ClaimedTask, Enqueued, NewTask, Stored } from './engine/task.js';
import type { SlotReservation } from './engine/slot-reservation.js';
import type { TaskStore } from './engine/task-store.js';
import type { WorkerPool } from './engine/worker-pool.js';
import { StoreUnavailableError } from './errors/store.errors.js';
import type { TaskEvents } from './task-events.js';

/** A task to be stored, and who waits for it. */
interface Storing {
  readonly task: NewTask;
  /** The slot that is kept for it, and what its handler will get. */
  readonly slot?: SlotReservation | undefined;
  payload?: unknown;
  answer?: WriteAnswer;
  /** As what it has been announced. */
  told?: Stored;
  resolve(stored: Stored): void;
  reject(error: unknown): void;
}

/** How often an enqueue whose reply was lost is repeated; its id makes that harmless. */
const enqueueTries = 4;

/** Stores tasks that are prepared, and tells of them in this process: its workers, and whoever observes. */
export class TaskEnqueuer {
  /** Calls outside transactions that come at the same time share one statement. */
  private readonly commits: GroupCommit<Storing, Stored>;
  /** Apart, since a unique key may have to wait for a transaction of somebody else's. */
  private readonly uniqueCommits: GroupCommit<Storing, Stored>;
  /** One statement after the other, since the order of tasks with a concurrency key is that of the calls. */
  private readonly keyedCommits: GroupCommit<Storing, Stored>;

  constructor(
    private readonly store: TaskStore,
    private readonly pool: WorkerPool,
    private readonly events: TaskEvents,
  ) {
    const send = (calls: readonly Storing[]) => {
      const tasks = calls.map(({ task }) => task);
      const [only] = calls;
      const early = only && calls.length === 1 && only.slot?.early !== false;
      const committed = early ? (stored: Stored) => this.committed(only, stored) : undefined;
      return this.repeated(
        (again) => this.store.enqueue(tasks, undefined, again, committed),
        () => {
          for (const { slot } of calls) slot?.unanswered();
        },
      );
    };
    const sharing = {
      maxBatch: 1_000,
      maxUnderWay: 2,
      // A database that is away is nobody's fault, and its halves would be sent as if never sent before.
      divisible: (error: unknown) => !(error instanceof StoreUnavailableError),
      resolve: (call: Storing, stored: Stored) => call.resolve(stored),
      reject: (call: Storing, error: unknown) => call.reject(error),
    };
    this.commits = new GroupCommit(send, sharing);
    this.keyedCommits = new GroupCommit(send, { ...sharing, maxUnderWay: 1 });
    this.uniqueCommits = new GroupCommit(send, { ...sharing, maxBatch: 1, maxUnderWay: Infinity });
  }

  /** @param scope The caller's transaction, or undefined: then a statement is shared with others. */
  enqueue(task: NewTask, scope: unknown): Promise<Enqueued> {
    return scope === undefined ? this.enqueueAlone(task) : this.enqueueWithin(task, scope);
  }

  /**
   * Stores all or none.
   *
   * @param scope The caller's transaction, or undefined: then they get one of their own.
   */
  async enqueueMany(tasks: readonly NewTask[], scope: unknown): Promise<Enqueued[]> {
    const results =
      scope === undefined
        ? await this.repeated((again) => this.store.enqueue(tasks, undefined, again))
        : await this.store.enqueue(tasks, scope);
    this.store.afterCommit(scope, () => this.announce(tasks, results));
    return results.map(publicResult);
  }

  private async enqueueWithin(task: NewTask, scope: unknown): Promise<Enqueued> {
    const results = await this.store.enqueue([task], scope);
    this.store.afterCommit(scope, () => this.announce([task], results));
    return publicResult(results[0]);
  }

  private async enqueueAlone(task: NewTask): Promise<Enqueued> {
    const due = 'inMs' in task.due && task.due.inMs === 0;
    const plain = task.uniqueKey === null && task.lane == null;
    // A unique one may have to wait for a transaction of somebody else's, and one with a concurrency key for others of it.
    const slot = due && plain && task.rateKey === undefined ? this.pool.reserve(task.queue, task.name) : undefined;
    const other = task.uniqueKey === null ? this.keyedCommits : this.uniqueCommits;
    const commits = plain ? this.commits : other;
    let call!: Storing;
    try {
      const storing = new Promise<Stored>((resolve, reject) => {
        call = { task: slot ? { ...task, handTo: slot.workerId } : task, slot, resolve, reject };
        commits.submit(call);
      });
      if (slot) {
        call.answer = answerOf(storing, { repeated: true });
        // While the statement is under way there is time for what the handler will need.
        call.payload = JSON.parse(task.payload);
      }
      const stored = await storing;
      this.committed(call, stored);
      // It was forgotten after it was handed over, and what is stored in its place waits for a claim.
      if (call.told?.handedAt !== undefined && stored.handedAt === undefined) this.pool.wake(task.queue);
      return publicResult(stored);
    } catch (error) {
      slot?.unanswered();
      if (!call.told) slot?.decline();
      throw error;
    }
  }

  /**
   * Others see the task, though it may not be on the disk yet. Now an idle worker of this process starts it that a slot was
   * kept for, without a claim of its own. A server that crashes just then forgets it, and it is stored again.
   */
  private committed(call: Storing, stored: Stored): void {
    if (call.told) return;
    call.told = stored;
    const { task, slot, payload, answer } = call;
    this.announce([task], [stored]);
    if (stored.handedAt === undefined) slot?.decline();
    else slot?.accept(firstClaim(task, payload, stored.handedAt), answer);
  }

  /**
   * A reply that was lost leaves open whether the commit happened; the ids make asking again harmless.
   *
   * @param unanswered Called for each reply that is lost.
   */
  private async repeated<Result>(send: (again: boolean) => Promise<Result>, unanswered = () => {}): Promise<Result> {
    for (let tries = 1; ; tries++) {
      try {
        return await send(tries > 1);
      } catch (error) {
        if (!this.store.isTransient(error)) throw error;
        unanswered();
        if (tries >= enqueueTries) throw new StoreUnavailableError('enqueue a task', error);
        await delay(100 * 2 ** tries);
      }
    }
  }

  private announce(tasks: readonly NewTask[], results: readonly Stored[]): void {
    const observed = this.events.observed('enqueued');
    // Those of one call are mostly on one queue, and due at one time: workers need not be told of each.
    let told: NewTask | undefined;
    tasks.forEach((task, index) => {
      const { name, queue, due } = task;
      const { id, duplicate, replaced, handedAt } = results[index] ?? {};
      if (id === undefined || duplicate === undefined) return;
      if (observed) this.events.emit('enqueued', { id, name, queue, duplicate, ...(replaced && { replaced }) });
      // With a concurrency key it waits for its admission, of which the store tells.
      if ((duplicate && !replaced) || handedAt !== undefined || task.lane != null) return;
      if (told?.queue === queue && told.due === due) return;
      told = task;
      this.pool.wake(queue, 'inMs' in due ? due.inMs : due.at.getTime() - Date.now(), tasks.length);
    });
  }
}

/** A task as its first claim gave it, for one that was stored as claimed. */
function firstClaim(task: NewTask, payload: unknown, handedAt: number): ClaimedTask {
  const { id, name, queue, priority, maxRetries, timeoutMs, expiresInMs = null } = task;
  return {
    attempt: 1,
    retries: 0,
    crashes: 0,
    claimSeq: 1,
    id,
    name,
    queue,
    priority,
    maxRetries,
    timeoutMs,
    payload,
    createdAt: handedAt,
    scheduledAt: handedAt,
    expiresInMs,
    lane: null,
  };
}

/** What the caller sees: how the store went about it is not its business. */
function publicResult(stored: Stored | undefined): Enqueued {
  if (!stored) throw new Error('The store gives one result a task.');
  return { id: stored.id, duplicate: stored.duplicate, ...(stored.replaced && { replaced: true }) };
}
