import { ControlStore, type Declarations } from '../engine/control-store.js';
import type { Control, DeclaredLimits, LimitChanges, QueueLimits, RateLimit } from '../engine/limits.js';
import { RateBucket } from './rate-bucket.js';
import type { StoredTask } from './stored-task.js';

const noLimits: DeclaredLimits = { globalConcurrency: null, rateLimit: null };

const sweepEveryMs = 60_000;

/** Keeps limits and pauses in this process, and what was taken from each bucket. */
export class MemoryControl extends ControlStore {
  private readonly pausedQueues = new Set<string>();
  private readonly pausedNames = new Set<string>();
  private readonly declared = new Map<string, DeclaredLimits>();
  private readonly rated = new Map<string, { readonly queue: string; readonly rateLimit: RateLimit }>();
  private readonly changes = new Map<string, LimitChanges>();
  private readonly buckets = new Map<string, RateBucket>();
  private sweptAt: number;

  constructor(
    private readonly clock: () => number,
    private readonly changed: () => void,
  ) {
    super();
    this.sweptAt = clock();
  }

  async declare({ queues, tasks }: Declarations): Promise<void> {
    const before = this.state();
    for (const [name, limits] of queues) this.declared.set(name, limits);
    for (const [name, { queue, rateLimit }] of tasks) {
      if (rateLimit) this.rated.set(name, { queue, rateLimit });
      else this.rated.delete(name);
    }
    if (this.state() !== before) this.changed();
  }

  async read(): Promise<Control> {
    this.sweep();
    const rated = [...this.rated.values()].map(({ queue }) => queue);
    const names = new Set([...this.pausedQueues, ...this.declared.keys(), ...this.changes.keys(), ...rated]);
    const queues = [...names].map((name) => {
      const concurrency = this.changes.get(name)?.concurrency ?? null;
      return [name, { paused: this.isPaused(name), limited: this.isLimited(name), concurrency }] as const;
    });
    return {
      queues: new Map(queues),
      pausedTasks: new Set(this.pausedNames),
      ratedTasks: new Set(this.rated.keys()),
    };
  }

  async setLimits(queue: string, changes: LimitChanges): Promise<void> {
    const given = Object.entries(changes).filter(([, value]) => value !== undefined);
    this.changes.set(queue, { ...this.changes.get(queue), ...(Object.fromEntries(given) as LimitChanges) });
    this.changed();
  }

  async limits(queue: string): Promise<QueueLimits> {
    const changes = this.changes.get(queue) ?? {};
    const changed = (['concurrency', 'globalConcurrency', 'rateLimit'] as const).filter((key) => changes[key] != null);
    const rated = [...this.rated].filter(([, task]) => task.queue === queue);
    const tasks = rated
      .map(([name, { rateLimit }]) => ({ name, rateLimit }))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
    return { ...this.effective(queue), concurrency: changes.concurrency ?? null, changed, tasks };
  }

  async forgetTaskLimit(name: string): Promise<void> {
    if (this.rated.delete(name)) this.changed();
  }

  async pauseTask(name: string): Promise<void> {
    this.pausedNames.add(name);
    this.changed();
  }

  async resumeTask(name: string): Promise<void> {
    if (this.pausedNames.delete(name)) this.changed();
  }

  async pausedTasks(): Promise<readonly string[]> {
    return [...this.pausedNames].toSorted();
  }

  pause(queue: string): void {
    this.pausedQueues.add(queue);
  }

  /** @returns Whether it was paused. */
  resume(queue: string): boolean {
    return this.pausedQueues.delete(queue);
  }

  paused(): readonly string[] {
    return [...this.pausedQueues].toSorted();
  }

  isPaused(queue: string): boolean {
    return this.pausedQueues.has(queue);
  }

  isLimited(queue: string): boolean {
    const { globalConcurrency, rateLimit } = this.effective(queue);
    return Boolean(globalConcurrency ?? rateLimit) || [...this.rated.values()].some((task) => task.queue === queue);
  }

  /** What a claim may take while so many tasks of the queue run: each task that it lets through counts as started. */
  admission(queue: string, running: number) {
    const { globalConcurrency, rateLimit } = this.effective(queue);
    const now = this.clock();
    let nextInMs = Infinity;
    const take = (limit: RateLimit | null | undefined, ...key: string[]): RateBucket | null | undefined => {
      if (!limit) return undefined;
      const bucket = this.bucket(...key);
      if (bucket.take(limit, now)) return bucket;
      nextInMs = Math.min(nextInMs, bucket.nextInMs(limit, now));
      return null;
    };
    return {
      /** How many at most. */
      room: globalConcurrency === null ? Infinity : Math.max(0, globalConcurrency - running),
      admits: ({ name, rateKey }: StoredTask): boolean => {
        const ofTask = take(this.rated.get(name)?.rateLimit, 'task', name, rateKey ?? '');
        if (ofTask === null) return false;
        if (take(rateLimit, 'queue', queue) !== null) return true;
        ofTask?.putBack();
        return false;
      },
      /** When there is more, as far as limits were in the way that know it. */
      nextInMs: () => (nextInMs === Infinity ? null : Math.ceil(nextInMs)),
    };
  }

  private effective(queue: string): DeclaredLimits {
    const declared = this.declared.get(queue) ?? noLimits;
    const { globalConcurrency, rateLimit } = this.changes.get(queue) ?? {};
    return {
      globalConcurrency: orNone(globalConcurrency ?? declared.globalConcurrency),
      rateLimit: orNone(rateLimit ?? declared.rateLimit),
    };
  }

  private bucket(...parts: string[]): RateBucket {
    this.sweep();
    const key = JSON.stringify(parts);
    const bucket = this.buckets.get(key) ?? new RateBucket();
    this.buckets.set(key, bucket);
    return bucket;
  }

  /** Buckets that are full are as good as new; those of keys that nobody uses any more would stay for ever. */
  private sweep(): void {
    const now = this.clock();
    if (Math.abs(now - this.sweptAt) < sweepEveryMs) return;
    this.sweptAt = now;
    for (const [key, bucket] of this.buckets) if (bucket.isFull(now)) this.buckets.delete(key);
  }

  private state(): string {
    return JSON.stringify([[...this.declared], [...this.rated]]);
  }
}

function orNone<Limit>(limit: Limit | 'none'): Limit | null {
  return limit === 'none' ? null : limit;
}
