import { QuarantinedError } from '../errors/execution.errors.js';
import { jittered } from './jitter.js';
import { PacedLoop } from './paced-loop.js';
import type { EngineReporter } from './task-event.js';
import type { TaskStore } from './task-store.js';
import type { RescuedTask, RescueRequest } from './upkeep.js';

/**
 * Gives the tasks of dead workers back, in every process and without a leader: the statement skips what another
 * process is just rescuing, and its pace is jittered so that processes do not call in chorus.
 */
export class Rescuer {
  private readonly loop = new PacedLoop(() => this.rescue());

  constructor(
    private readonly store: TaskStore,
    private readonly everyMs: number,
    private readonly request: RescueRequest,
    private readonly reporter: EngineReporter,
    private readonly failed: (doing: string, error: unknown) => void,
    private readonly tell: { answered(): void; rescued(queue: string): void },
  ) {}

  start(): void {
    void this.loop.start();
  }

  stop(): Promise<void> {
    return this.loop.stop();
  }

  private async rescue(): Promise<number> {
    try {
      const rescued = await this.store.rescue(this.request);
      this.tell.answered();
      for (const task of rescued) this.report(task);
    } catch (error) {
      this.failed('rescue the tasks of dead workers', error);
    }
    return jittered(this.everyMs);
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
      `Task "${name}" ${id} was held by a worker whose lease has ended; it goes back to its queue (crash ${crashes}).`,
    );
    this.tell.rescued(queue);
  }
}
