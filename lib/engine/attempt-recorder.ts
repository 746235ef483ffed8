import { TransactionFailedError } from '../errors/transaction.errors.js';
import { within } from './delay.js';
import type { Execution } from './execution.js';
import type { WriteAnswer, HeldTask } from './held-task.js';
import type { Lease } from './lease.js';
import {
  type OpenOutcome,
  type Outcome,
  settle,
  type Settlement,
  type SettlementRules,
  stateAfter,
  withResult,
} from './settlement.js';
import type { Settler, Settling, Verdict } from './settler.js';
import type { ClaimedTask, TaskState } from './task.js';
import type { QueueDefinition, TaskDefinition } from './task-definition.js';
import type { AttemptRef, EngineReporter } from './task-event.js';

/** Has the outcome of each attempt of one queue decided, written, and only then told. */
export class AttemptRecorder {
  /** Tasks whose attempt has ended, but whose settlement is not written yet. */
  readonly underWay = new Set<ClaimedTask>();
  /**
   * Those of them whose enqueue or claim has not been answered. A task that is removed before its enqueue is would be taken
   * for forgotten, and stored again; and when a claim is forgotten nobody could tell that its outcome is not the one found.
   */
  private readonly early = new Map<Ending, WriteAnswer>();
  /** The worker ends, and has waited for them. */
  private waited = false;

  /** @param recorded Told of each task that is no longer held here, and in how many milliseconds it is tried again. */
  constructor(
    private readonly queue: QueueDefinition,
    private readonly settler: Settler,
    private readonly reporter: EngineReporter,
    private readonly recorded: (task: ClaimedTask, retryInMs?: number) => void,
  ) {}

  record(
    execution: Execution,
    definition: TaskDefinition,
    { lease, answer }: Pick<HeldTask, 'lease' | 'answer'>,
    outcome: Outcome,
  ): void {
    const { task } = execution;
    if (outcome.kind === 'lost') {
      this.reporter.event('lost', attemptRef(task));
      return this.recorded(task);
    }
    const durationMs = performance.now() - execution.startedAt;
    if (outcome.kind === 'committed') {
      return this.conclude(task, outcome.state, outcome.settlement, durationMs, undefined);
    }
    const before = outcome.kind === 'unanswered' ? outcome.settlement : undefined;
    // Once there is somebody to ask: a failure, unless the task is settled already.
    const open = outcome.kind === 'unanswered' ? unanswered(task) : outcome;
    const rules = this.rules(execution, definition);
    const final = tryWithResult(open, task, rules);
    const settlement = settle(task, final, rules);
    const error = 'error' in final ? final.error : undefined;
    this.write(new Ending(this, lease, settlement, task, durationMs, error, before, answer));
  }

  /**
   * How the task goes on after this outcome.
   *
   * @throws InvalidResultError when what was returned cannot be stored: then the attempt has failed.
   */
  decide(execution: Execution, definition: TaskDefinition, outcome: OpenOutcome): Settlement {
    const rules = this.rules(execution, definition);
    return settle(execution.task, withResult(outcome, execution.task, rules), rules);
  }

  private rules({ limits }: Execution, definition: TaskDefinition): SettlementRules {
    return {
      maxRetries: limits.maxRetries,
      backoff: definition.backoff,
      retention: this.queue.retention,
      keepResult: definition.keepResult,
      maxResultBytes: definition.maxResultBytes,
      deadLetter: definition.deadLetter,
      random: Math.random,
    };
  }

  /** Gives back a task that was not started. */
  release({ task, lease, answer }: Pick<HeldTask, 'task' | 'lease' | 'answer'>): void {
    const { id, queue, claimSeq } = task;
    const settlement = { kind: 'release', id, queue, claimSeq } as const;
    this.write(new Ending(this, lease, settlement, task, undefined, undefined, undefined, answer));
  }

  /**
   * Waits at most `ms` milliseconds for the enqueues and claims that have not been answered, and has the outcomes of their
   * tasks written at last. None waits from then on.
   */
  async answered(ms: number): Promise<void> {
    if (this.early.size > 0 && ms > 0) {
      await within(ms, Promise.all([...this.early.values()].map(({ given }) => given)));
    }
    this.waited = true;
    for (const ending of this.early.keys()) this.send(ending);
  }

  written({ task, settlement, durationMs, error, before }: Ending, verdict: Verdict): void {
    this.underWay.delete(task);
    if (verdict !== 'before') this.conclude(task, verdict, settlement, durationMs, error);
    else if (before) this.conclude(task, stateAfter(before), before, durationMs, undefined);
  }

  private conclude(
    task: ClaimedTask,
    state: TaskState | 'lost',
    settlement: Settlement,
    durationMs: number | undefined,
    error: unknown,
  ): void {
    // Also what was to go back, when somebody wished it cancelled meanwhile.
    if (state === 'cancelled') this.reporter.event('cancelled', attemptRef(task));
    else if (durationMs !== undefined) this.emit(task, state, settlement, durationMs, error);
    this.recorded(task, 'delayMs' in settlement && state === 'ready' ? settlement.delayMs : undefined);
  }

  private write(ending: Ending): void {
    this.underWay.add(ending.task);
    const { answer } = ending;
    if (!answer || answer.stored !== undefined || this.waited) return this.settler.write(ending);
    this.early.set(ending, answer);
    void answer.given.then(() => this.send(ending));
  }

  private send(ending: Ending): void {
    if (this.early.delete(ending)) this.settler.write(ending);
  }

  private emit(
    task: ClaimedTask,
    state: TaskState | 'lost',
    settlement: Settlement,
    durationMs: number,
    error: unknown,
  ): void {
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
    readonly before?: Settlement,
    readonly answer?: WriteAnswer,
  ) {}

  get forgotten(): boolean {
    // Also one whose answer is open still at the end of a drain: the store may have forgotten it with its outcome.
    return this.answer !== undefined && this.answer.stored !== true;
  }

  written(verdict: Verdict): void {
    this.recorder.written(this, verdict);
  }
}

function unanswered({ name, id }: ClaimedTask): OpenOutcome {
  return { kind: 'threw', error: new TransactionFailedError(name, id, 'its COMMIT did not reach the database') };
}

/** What cannot be stored fails the attempt: a task that is done without its result would be a lie. */
function tryWithResult(outcome: OpenOutcome, task: ClaimedTask, rules: SettlementRules): OpenOutcome {
  try {
    return withResult(outcome, task, rules);
  } catch (error) {
    return { kind: 'threw', error };
  }
}

/** What identifies an attempt in an event. */
export function attemptRef({ id, name, queue, attempt }: ClaimedTask): AttemptRef {
  return { id, name, queue, attempt };
}
