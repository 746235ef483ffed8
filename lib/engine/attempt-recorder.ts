import type { Execution } from './execution.js';
import { type Outcome, settle } from './settlement.js';
import type { Settler, Verdict } from './settler.js';
import type { ClaimedTask } from './task.js';
import type { QueueDefinition, TaskDefinition } from './task-definition.js';
import type { AttemptRef, EngineReporter } from './task-event.js';
import type { Lease, Settlement } from './task-store.js';

/** Has the outcome of each attempt of one queue decided, written, and only then told. */
export class AttemptRecorder {
  /** Tasks whose attempt has ended, but whose settlement is not written yet. */
  readonly underWay = new Set<string>();

  constructor(
    private readonly queue: QueueDefinition,
    private readonly settler: Settler,
    private readonly reporter: EngineReporter,
  ) {}

  /** Never rejects. @returns In how many milliseconds the task is tried again; undefined when it is not. */
  async record(
    { task, limits, startedAt }: Execution,
    definition: TaskDefinition,
    lease: Lease,
    outcome: Outcome,
  ): Promise<number | undefined> {
    const ref = attemptRef(task);
    if (outcome.kind === 'lost') {
      this.reporter.event('lost', ref);
      return undefined;
    }
    const durationMs = performance.now() - startedAt;
    const settlement = settle(task, outcome, {
      maxRetries: limits.maxRetries,
      backoff: definition.backoff,
      retention: this.queue.retention,
      random: Math.random,
    });
    if ((await this.write(lease, settlement)) === 'lost') {
      this.reporter.event('lost', ref);
      return undefined;
    }
    this.tell(settlement, { ...ref, durationMs, error: 'error' in outcome ? outcome.error : undefined });
    return settlement.kind === 'retry' ? settlement.delayMs : undefined;
  }

  /** Gives back a task that was not started. Never rejects. */
  async release({ id, queue, claimSeq }: ClaimedTask, lease: Lease): Promise<void> {
    await this.write(lease, { kind: 'release', id, queue, claimSeq });
  }

  private async write(lease: Lease, settlement: Settlement): Promise<Verdict> {
    this.underWay.add(settlement.id);
    const verdict = await this.settler.settle(lease, settlement);
    this.underWay.delete(settlement.id);
    return verdict;
  }

  private tell(settlement: Settlement, event: AttemptRef & { durationMs: number; error: unknown }): void {
    const { error, durationMs, ...ref } = event;
    switch (settlement.kind) {
      case 'release':
        return;
      case 'retry':
        return this.reporter.event('retrying', { ...event, delayMs: settlement.delayMs });
      case 'finish':
        switch (settlement.state) {
          case 'done':
            return this.reporter.event('done', { ...ref, durationMs });
          case 'cancelled':
            return this.reporter.event('cancelled', ref);
          case 'failed':
            return this.reporter.event('failed', { ...ref, durationMs, error });
        }
    }
  }
}

/** What identifies an attempt in an event. */
export function attemptRef(task: ClaimedTask): AttemptRef {
  return { id: task.id, name: task.name, queue: task.queue, attempt: task.attempt };
}
