import type { EngineReporter } from './task-event.js';
import type { ExpireRequest, TaskStore } from './task-store.js';

/** Somebody who looks at every expiry of a crowd would do nothing else. */
const shortestPauseMs = 100;

/**
 * Ends tasks that have expired, in every process and without a leader: the statement skips what another process is just
 * ending. It looks when the next task expires that it knows of, and at its pace for those that it does not.
 */
export class Expirer {
  private timer: NodeJS.Timeout | undefined;
  private underWay: Promise<void> = Promise.resolve();
  private stopped = true;

  constructor(
    private readonly store: TaskStore,
    private readonly everyMs: number,
    private readonly request: ExpireRequest,
    private readonly reporter: EngineReporter,
    private readonly failed: (doing: string, error: unknown) => void,
  ) {}

  start(): void {
    this.stopped = false;
    this.underWay = this.expire();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.underWay;
  }

  private async expire(): Promise<void> {
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
    if (this.stopped) return;
    // Jittered, so that processes do not look in chorus.
    const paceMs = this.everyMs * (0.75 + Math.random() * 0.5);
    this.timer = setTimeout(
      () => {
        this.underWay = this.expire();
      },
      Math.min(paceMs, Math.max(restMs, shortestPauseMs) * (1 + Math.random() * 0.1)),
    ).unref();
  }
}
