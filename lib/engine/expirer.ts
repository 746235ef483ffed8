import { jittered } from './jitter.js';
import { PacedLoop } from './paced-loop.js';
import type { EngineReporter } from './task-event.js';
import type { TaskStore } from './task-store.js';
import type { ExpireRequest } from './upkeep.js';

/** Somebody who looks at every expiry of a crowd would do nothing else. */
const shortestPauseMs = 100;
const firstLookMs = 1_000;

/**
 * Ends tasks that have expired, in every process and without a leader: the statement skips what another process is just
 * ending. It looks when the next task expires that it knows of, and at its pace for those that it does not.
 */
export class Expirer {
  private readonly loop = new PacedLoop(() => this.expire());

  constructor(
    private readonly store: TaskStore,
    private readonly everyMs: number,
    private readonly request: ExpireRequest,
    private readonly reporter: EngineReporter,
    private readonly failed: (doing: string, error: unknown) => void,
  ) {}

  start(): void {
    // A process that starts has better to do: nobody claims what has expired.
    this.loop.startIn(jittered(Math.min(this.everyMs, firstLookMs)));
  }

  stop(): Promise<void> {
    return this.loop.stop();
  }

  private async expire(): Promise<number> {
    let restMs = Infinity;
    try {
      const { expired, nextInMs } = await this.store.expire(this.request);
      for (const { id, name, queue } of expired) {
        this.reporter.event('cancelled', { id, name, queue, reason: 'expired' });
      }
      restMs = nextInMs ?? Infinity;
    } catch (error) {
      this.failed('end the tasks that have expired', error);
    }
    return Math.min(jittered(this.everyMs), Math.max(restMs, shortestPauseMs) * (1 + Math.random() * 0.1));
  }
}
