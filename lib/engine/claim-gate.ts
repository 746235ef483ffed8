import type { ClaimRequest } from './claim.js';
import type { Control, LimitedClaim } from './limits.js';
import type { QueueDefinition, TaskDefinition } from './task-definition.js';
import type { TaskStore } from './task-store.js';

/** How often to look on a queue without limits for tasks that have one of their own: they are at home elsewhere. */
const straysEveryMs = 1_000;
const nothing: LimitedClaim = { tasks: [], nextInMs: null };

/**
 * What the worker of one queue may claim and how, by what its process declares and what was set at run time. A queue
 * without limits is claimed from as if there were none anywhere.
 */
export class ClaimGate {
  /** How many tasks run at once in this process. */
  concurrency: number;
  /** Something limits the queue as a whole, or a task that is at home there. */
  limited = false;
  private plain: readonly string[] = [];
  private rated: readonly string[] = [];
  private known: string;
  private paused: ReadonlySet<string> = new Set();
  private lookedForStrays = -Infinity;
  /** The latest claim did not look for strays, since one before it had done so just then. */
  private straysWait = false;
  /** The claim under way looks for strays, one for each slot that was free when it began. */
  private straying = false;

  constructor(
    private readonly queue: QueueDefinition,
    private readonly tasks: ReadonlyMap<string, TaskDefinition>,
  ) {
    this.concurrency = queue.concurrency;
    this.limited = isLimited(queue, tasks);
    this.sort([...tasks.keys()], new Set());
    this.known = this.shape(false);
  }

  /** @returns Whether that changes anything here. */
  apply({ queues, pausedTasks, ratedTasks }: Control): boolean {
    const set = queues.get(this.queue.name);
    this.concurrency = set?.concurrency ?? this.queue.concurrency;
    this.limited = set?.limited ?? false;
    this.paused = pausedTasks;
    const names = [...this.tasks.keys()].filter((name) => !pausedTasks.has(name));
    this.sort(names, ratedTasks);
    const before = this.known;
    this.known = this.shape(set?.paused ?? false);
    return this.known !== before;
  }

  /** Whether a task of this name may be stored as claimed by this worker. */
  hands(name: string): boolean {
    // A stray that found its slot taken would have used up a token, and have to wait for the next.
    return !this.limited && !this.straying && this.plain.includes(name);
  }

  /** Whether a task of this name may start: a claim may have been under way when it was paused. */
  starts(name: string): boolean {
    return !this.paused.has(name);
  }

  /** After how many milliseconds to look again at the latest. */
  get lookAgainMs(): number {
    return this.straysWait ? straysEveryMs : Infinity;
  }

  async claim(store: TaskStore, request: Omit<ClaimRequest, 'names'>): Promise<LimitedClaim> {
    if (this.limited) {
      const names = [...this.plain, ...this.rated];
      return names.length > 0 ? store.claimLimited({ ...request, names }) : nothing;
    }
    const lookedJustNow = performance.now() - this.lookedForStrays < straysEveryMs;
    this.straying = this.rated.length > 0 && !lookedJustNow;
    try {
      const tasks = this.plain.length > 0 ? await store.claim({ ...request, names: this.plain }) : [];
      const free = (request.startNow ?? request.limit) - tasks.length;
      this.straysWait = this.rated.length > 0 && free > 0 && lookedJustNow;
      if (!this.straying || free <= 0) return { tasks, nextInMs: null };
      this.lookedForStrays = performance.now();
      // Should this fail, the worker's audit finds what the first claim has brought.
      const suspects = request.suspects && { ...request.suspects, takeOne: false };
      const strays = await store.claimLimited({ ...request, names: this.rated, limit: free, startNow: free, suspects });
      return { tasks: [...tasks, ...strays.tasks], nextInMs: strays.nextInMs };
    } finally {
      this.straying = false;
    }
  }

  private shape(paused: boolean): string {
    return JSON.stringify([this.concurrency, this.limited, paused, this.plain, this.rated]);
  }

  private sort(names: readonly string[], rated: ReadonlySet<string>): void {
    const isRated = (name: string) => rated.has(name) || this.tasks.get(name)?.rateLimit !== undefined;
    this.plain = names.filter((name) => !isRated(name));
    this.rated = names.filter(isRated);
  }
}

function isLimited({ name, limits }: QueueDefinition, tasks: ReadonlyMap<string, TaskDefinition>): boolean {
  if (limits?.globalConcurrency != null || limits?.rateLimit != null) return true;
  return [...tasks.values()].some(({ queue, rateLimit }) => queue === name && rateLimit !== undefined);
}
