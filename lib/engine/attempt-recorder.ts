import type { Execution } from './execution.js';
import { type Outcome, settle } from './settlement.js';
import type { Settler, Settling, Verdict } from './settler.js';
import type { ClaimedTask } from './task.js';
import type { QueueDefinition, TaskDefinition } from './task-definition.js';
import type { AttemptRef, EngineReporter } from './task-event.js';
import type { Lease, Settlement } from './task-store.js';

/** Has the outcome of each attempt of one queue decided, written, and only then told. */
export class AttemptRecorder {
  /** Tasks whose attempt has ended, but whose settlement is not written yet. */
  readonly underWay = new Set<string>();

  /** @param recorded Told of each task that is no longer held here, and in how many milliseconds it is tried again. */
  constructor(
    private readonly queue: QueueDefinition,
    private readonly settler: Settler,
    private readonly reporter: EngineReporter,
    private readonly recorded: (task: ClaimedTask, retryInMs?: number) => void,
  ) {}

  record({ task, limits, startedAt }: Execution, definition: TaskDefinition, lease: Lease, outcome: Outcome): void {
    if (outcome.kind === 'lost') {
      this.reporter.event('lost', attemptRef(task));
      return this.recorded(task);
    }
    const durationMs = performance.now() - startedAt;
    const settlement = settle(task, outcome, {
      maxRetries: limits.maxRetries,
      backoff: definition.backoff,
      retention: this.queue.retention,
      random: Math.random,
    });
    const error = 'error' in outcome ? outcome.error : undefined;
    this.write(new Ending(this, lease, settlement, task, durationMs, error));
  }

  /** Gives back a task that was not started. */
  release(task: ClaimedTask, lease: Lease): void {
    const { id, queue, claimSeq } = task;
    this.write(new Ending(this, lease, { kind: 'release', id, queue, claimSeq }, task, undefined, undefined));
  }

  written({ task, settlement, durationMs, error }: Ending, state: Verdict): void {
    this.underWay.delete(task.id);
    // Also what was to go back, when somebody wished it cancelled meanwhile.
    if (state === 'cancelled') this.reporter.event('cancelled', attemptRef(task));
    else if (durationMs !== undefined) this.tell(task, state, settlement, durationMs, error);
    this.recorded(task, 'delayMs' in settlement && state === 'ready' ? settlement.delayMs : undefined);
  }

  private write(ending: Ending): void {
    this.underWay.add(ending.task.id);
    this.settler.write(ending);
  }

  private tell(task: ClaimedTask, state: Verdict, settlement: Settlement, durationMs: number, error: unknown): void {
    const { id, name, queue, attempt } = task;
    if (state === 'lost') this.reporter.event('lost', { id, name, queue, attempt });
    else if (settlement.kind === 'snooze') {
      this.reporter.event('snoozed', { id, name, queue, attempt, durationMs, delayMs: settlement.delayMs });
    } else if (settlement.kind === 'retry') {
      const { delayMs } = settlement;
      this.reporter.event('retrying', { id, name, queue, attempt, durationMs, error, delayMs });
    } else if (state === 'done') this.reporter.event('done', { id, name, queue, attempt, durationMs });
    else if (state === 'failed') this.reporter.event('failed', { id, name, queue, attempt, durationMs, error });
  }
}

/**
 * A settlement on its way, one object a task: at the speed at which tasks end, what is kept of them until they are
 * written is what the garbage collector is busy with.
 */
class Ending implements Settling {
  constructor(
    private readonly recorder: AttemptRecorder,
    readonly lease: Lease,
    readonly settlement: Settlement,
    readonly task: ClaimedTask,
    /** Undefined for a task that never started. */
    readonly durationMs: number | undefined,
    readonly error: unknown,
  ) {}

  written(verdict: Verdict): void {
    this.recorder.written(this, verdict);
  }
}

/** What identifies an attempt in an event. */
export function attemptRef({ id, name, queue, attempt }: ClaimedTask): AttemptRef {
  return { id, name, queue, attempt };
}
