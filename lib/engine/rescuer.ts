import { QuarantinedError } from '../errors/execution.errors.js';
import type { EngineReporter } from './task-event.js';
import type { RescuedTask, RescueRequest, TaskStore } from './task-store.js';

/**
 * Gives the tasks of dead workers back, in every process and without a leader: the statement skips what another
 * process is just rescuing, and its pace is jittered so that processes do not call in chorus.
 */
export class Rescuer {
  private timer: NodeJS.Timeout | undefined;
  private underWay: Promise<void> = Promise.resolve();
  private stopped = true;

  constructor(
    private readonly store: TaskStore,
    private readonly everyMs: number,
    private readonly request: RescueRequest,
    private readonly reporter: EngineReporter,
    private readonly failed: (doing: string, error: unknown) => void,
    private readonly tell: { answered(): void; rescued(queue: string): void },
  ) {}

  start(): void {
    this.stopped = false;
    this.underWay = this.rescue();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.underWay;
  }

  private async rescue(): Promise<void> {
    try {
      const rescued = await this.store.rescue(this.request);
      this.tell.answered();
      for (const task of rescued) this.report(task);
    } catch (error) {
      this.failed('rescue the tasks of dead workers', error);
    }
    if (this.stopped) return;
    this.timer = setTimeout(
      () => {
        this.underWay = this.rescue();
      },
      this.everyMs * (0.75 + Math.random() * 0.5),
    ).unref();
  }

  private report(task: RescuedTask): void {
    const { id, name, queue, attempt, crashes, quarantined } = task;
    this.reporter.event('rescued', task);
    if (quarantined) {
      const error = new QuarantinedError(name, id, crashes);
      this.reporter.event('quarantined', { id, name, queue, attempt, crashes });
      return this.reporter.event('failed', { id, name, queue, attempt, durationMs: 0, error });
    }
    this.reporter.log(
      'warn',
      `Task "${name}" ${id} was held by a worker that died; it goes back to its queue (crash ${crashes}).`,
    );
    this.tell.rescued(queue);
  }
}
