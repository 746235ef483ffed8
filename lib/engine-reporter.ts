import { Logger } from '@nestjs/common';
import type { EngineReporter, TaskEventKind, TaskEventMap } from './engine/task-event.js';
import { WorkerPool } from './engine/worker-pool.js';
import type { TaskEvents } from './task-events.js';

/** Brings what the engine reports to Nest's logger and to TaskEvents. */
export class NestReporter implements EngineReporter {
  private readonly logger: Logger;

  constructor(
    private readonly events: TaskEvents,
    instance: string | undefined,
  ) {
    this.logger = new Logger(instance ? `${WorkerPool.name}:${instance}` : WorkerPool.name);
  }

  log(level: 'log' | 'warn' | 'error', message: string): void {
    this.logger[level](message);
  }

  event<Kind extends TaskEventKind>(kind: Kind, event: TaskEventMap[Kind]): void {
    this.logFailure(kind, event);
    this.events.emit(kind, event);
  }

  private logFailure(kind: TaskEventKind, event: TaskEventMap[TaskEventKind]): void {
    if (kind === 'retrying') {
      const { name, id, attempt, error, delayMs } = event as TaskEventMap['retrying'];
      this.logger.warn(`Task "${name}" ${id} failed in attempt ${attempt}, next in ${delayMs} ms: ${reason(error)}`);
    } else if (kind === 'failed') {
      const { name, id, attempt, error } = event as TaskEventMap['failed'];
      this.logger.error(`Task "${name}" ${id} failed for good in attempt ${attempt}: ${reason(error)}`);
    } else if (kind === 'lost') {
      const { name, id, attempt } = event as TaskEventMap['lost'];
      this.logger.warn(`Task "${name}" ${id} was lost in attempt ${attempt}; another worker may run it again.`);
    }
  }
}

/** A line of the log is one line, and stays one that can be read: whatever was thrown may hold line breaks, and much. */
const longestReason = 1_000;

function reason(error: unknown): string {
  try {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    const clipped = text.length > longestReason ? `${text.slice(0, longestReason)}…` : text;
    return clipped.replaceAll(/\p{Cc}+/gu, ' ');
  } catch {
    return 'a value that cannot be shown';
  }
}
