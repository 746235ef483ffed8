import { type BackgroundTaskMetadata } from './decorators/background-task.decorator.js';
import { OutcomeWatch } from './engine/outcome-watch.js';
import { keepMs } from './engine/retention.js';
import type { TaskOutcome } from './engine/task-lookup.js';
import type { TaskStore } from './engine/task-store.js';
import { InvalidOptionsError } from './errors/configuration.errors.js';
import { TaskCancelledError } from './errors/execution.errors.js';
import { ResultNotKeptError, ResultTimeoutError, TaskFailedError, TaskNotFoundError } from './errors/result.errors.js';
import type { BackgroundTaskOptions } from './interfaces/background-task-options.interface.js';
import type { ResultOptions } from './interfaces/bulk-filter.interface.js';
import { checkOptions, maxTimerMs, milliseconds, shown } from './options/checks.js';
import type { ResolvedOptions } from './options/resolve-options.js';
import type { TaskRegistry } from './task.registry.js';

const defaultTimeoutMs = 30_000;

/** What a look at a task says to whoever awaits its result; undefined: wait on. */
type Verdict = { readonly result: unknown } | { readonly error: Error } | undefined;

/** Awaits the results of tasks, whichever process runs them. */
export class TaskResults {
  private readonly watch: OutcomeWatch;

  constructor(
    store: TaskStore,
    private readonly registry: TaskRegistry,
    private readonly options: ResolvedOptions,
  ) {
    this.watch = new OutcomeWatch(store);
  }

  /** @param expected What the task must be, if the caller has said so. */
  async result(id: string, options: ResultOptions, expected?: BackgroundTaskMetadata): Promise<unknown> {
    checkOptions('TaskQueue.result', options, { timeoutMs: milliseconds(1, maxTimerMs) });
    if (typeof id !== 'string') {
      throw new InvalidOptionsError(`TaskQueue.result: the id must be that of a task, not ${shown(id)}.`);
    }
    // What is known of a class is said at once, and alike before, during and after a task of it.
    if (expected?.options.keepResult === false) throw new ResultNotKeptError(expected.name, id);
    const { timeoutMs = defaultTimeoutMs } = options;
    return new Promise((resolve, reject) => {
      const end = (verdict: Verdict) => {
        if (!verdict) return;
        unwatch();
        clearTimeout(timer);
        if ('error' in verdict) reject(verdict.error);
        else resolve(verdict.result);
      };
      const unwatch = this.watch.watch(id, {
        told: (outcome) => end(this.judge(id, outcome, expected)),
        gone: (last) => end({ error: this.gone(id, last, expected) }),
        failed: (error) => end({ error: error as Error }),
      });
      const timer = setTimeout(() => {
        const { trouble } = this.watch;
        end({ error: new ResultTimeoutError(id, timeoutMs, trouble === undefined ? {} : { cause: trouble }) });
      }, timeoutMs);
    });
  }

  /** Whoever still waits is told that the store is closed. */
  close(): Promise<void> {
    return this.watch.close();
  }

  private judge(id: string, outcome: TaskOutcome, expected: BackgroundTaskMetadata | undefined): Verdict {
    const { name, queue, state, result, error, reason } = outcome;
    if (expected && expected.name !== name) {
      const problem = `task ${id} is a ${JSON.stringify(name)}, not a ${JSON.stringify(expected.name)}`;
      return { error: new InvalidOptionsError(`TaskQueue.result: ${problem}. Pass the class that was enqueued.`) };
    }
    const declared = expected?.options ?? this.registry.declarationOf(name);
    const keepsNone = this.keepsNone(declared, queue);
    if (keepsNone && expected && state !== 'done') return { error: new ResultNotKeptError(name, id) };
    switch (state) {
      case 'ready':
      case 'running':
        return keepsNone ? { error: new ResultNotKeptError(name, id) } : undefined;
      case 'done':
        return declared?.keepResult === false ? { error: new ResultNotKeptError(name, id) } : { result };
      case 'failed':
        return { error: new TaskFailedError(name, id, error ?? { name: 'Error', message: 'no error was stored' }) };
      case 'cancelled':
        return { error: new TaskCancelledError(name, id, reason) };
    }
  }

  /** @param last The task as it was seen last, if it was; otherwise its queue is taken to be that of its class. */
  private gone(id: string, last: TaskOutcome | undefined, expected: BackgroundTaskMetadata | undefined): Error {
    if (last) return new ResultNotKeptError(last.name, id);
    if (!expected || !this.keepsNone(expected.options, expected.options.queue ?? 'default')) {
      return new TaskNotFoundError(id);
    }
    return new ResultNotKeptError(expected.name, id);
  }

  /** Whether this process knows that there will be no result: a task that it does not know, or not run, may have one. */
  private keepsNone(declared: BackgroundTaskOptions | undefined, queue: string): boolean {
    if (declared?.keepResult !== undefined) return !declared.keepResult;
    if (!declared || !this.options.workers) return false;
    const configured = this.options.queues.find((one) => one.name === queue);
    return configured !== undefined && keepMs(configured.retention, 'done') === null;
  }
}
