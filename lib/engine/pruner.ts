import { randomUUID } from 'node:crypto';
import { jittered } from './jitter.js';
import { PacedLoop } from './paced-loop.js';
import { finiteKeepMs, type Retention } from './retention.js';
import type { QueueDefinition } from './task-definition.js';
import type { EngineReporter } from './task-event.js';
import type { TaskStore } from './task-store.js';
import type { PruneReport, PruneRequest } from './upkeep.js';

/** Whether something is to be removed is looked at once in so many heartbeats, and each hour at least. */
const everyHeartbeats = 60;
const longestPaceMs = 3_600_000;
/** When to look first where nothing waits for it: a process that starts has better to do. */
const firstLookMs = 5_000;
/** What is left undone because somebody was in the way is tried again after so much of a pace. */
const hurried = 0.1;

/**
 * Removes finished tasks whose time is over, in every process and without a leader: the store decides who does the work
 * of a day, and everybody looks now and then whether it is left undone.
 */
export class Pruner {
  private readonly loop = new PacedLoop(() => this.look());
  private readonly stopping = new AbortController();
  private weakened: string | undefined;

  constructor(
    private readonly store: TaskStore,
    private readonly everyMs: number,
    private readonly request: Omit<PruneRequest, 'signal'>,
    private readonly reporter: EngineReporter,
    private readonly failed: (doing: string, error: unknown) => void,
  ) {}

  /** Resolves after the first look if that makes ready what tasks will need, else at once. */
  async start(): Promise<void> {
    if (this.request.keepMs.length > 0) return this.loop.start();
    this.loop.startIn(jittered(Math.min(this.everyMs, firstLookMs)));
  }

  stop(): Promise<void> {
    this.stopping.abort();
    return this.loop.stop();
  }

  private async look(): Promise<number> {
    let restMs = this.everyMs;
    try {
      const report = await this.store.prune({ ...this.request, signal: this.stopping.signal });
      if (report.unfinished) restMs *= hurried;
      this.tell(report);
    } catch (error) {
      restMs *= hurried;
      this.failed('remove finished tasks whose time is over', error);
    }
    return jittered(restMs);
  }

  private tell({ dropped, deleted, weakened }: PruneReport): void {
    if (weakened !== undefined && weakened !== this.weakened) this.reporter.log('warn', weakened);
    this.weakened = weakened ?? this.weakened;
    if (dropped.length === 0 && deleted === 0) return;
    this.reporter.log(
      'log',
      `Removed what was kept long enough: dropped ${dropped.join(', ') || 'no partition'}, deleted ${deleted} rows.`,
    );
  }
}

/** A pruner for what stays for a time by these options. */
export function prunerOf(
  store: TaskStore,
  options: {
    readonly queues: readonly QueueDefinition[];
    /** Of queues that are not configured here. */
    readonly retention: Retention;
    readonly heartbeatMs: number;
  },
  reporter: EngineReporter,
  failed: (doing: string, error: unknown) => void,
): Pruner {
  const { queues, retention, heartbeatMs } = options;
  const everyMs = Math.min(everyHeartbeats * heartbeatMs, longestPaceMs);
  const keepMs = finiteKeepMs([retention, ...queues.map((queue) => queue.retention)]);
  return new Pruner(store, everyMs, { holder: randomUUID(), keepMs, staleMs: everyMs / 2 }, reporter, failed);
}
