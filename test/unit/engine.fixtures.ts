import { Backoff } from '../../lib/engine/backoff.js';
import type { ClaimedTask, NewTask } from '../../lib/engine/task.js';
import type { QueueDefinition, TaskDefinition, TaskHandler } from '../../lib/engine/task-definition.js';
import type { EngineReporter, TaskEventKind, TaskEventMap } from '../../lib/engine/task-event.js';
import type { Lease, WorkerIdentity } from '../../lib/engine/task-store.js';

let ids = 0;

export function claimedTask(fields: Partial<ClaimedTask> = {}): ClaimedTask {
  return {
    id: `task-${++ids}`,
    name: 'work',
    queue: 'default',
    payload: null,
    priority: 0,
    attempt: 1,
    retries: 0,
    crashes: 0,
    maxRetries: null,
    timeoutMs: null,
    claimSeq: 1,
    createdAt: 0,
    scheduledAt: 0,
    lane: null,
    ...fields,
  };
}

export function newTask(fields: Partial<NewTask> = {}): NewTask {
  return {
    id: `task-${String(++ids).padStart(8, '0')}`,
    name: 'work',
    queue: 'default',
    payload: 'null',
    priority: 0,
    uniqueKey: null,
    maxRetries: null,
    timeoutMs: null,
    due: { inMs: 0 },
    ...fields,
  };
}

export function newTasks(count: number, fields: Partial<NewTask> = {}): NewTask[] {
  return Array.from({ length: count }, () => newTask(fields));
}

export function definition(handler: TaskHandler, fields: Partial<TaskDefinition> = {}): TaskDefinition {
  return {
    name: 'work',
    queue: 'default',
    maxRetries: 3,
    backoff: Backoff.none(),
    timeoutMs: undefined,
    handler,
    ...fields,
  };
}

export function definitions(...all: TaskDefinition[]): ReadonlyMap<string, TaskDefinition> {
  return new Map(all.map((one) => [one.name, one]));
}

export function queueOf(fields: Partial<QueueDefinition> = {}): QueueDefinition {
  return {
    name: 'default',
    concurrency: 10,
    pollIntervalMs: 1_000,
    retention: 'keepAll',
    executionTimeoutMs: 120_000,
    ...fields,
  };
}

export function identity(id = `worker-${++ids}`): WorkerIdentity {
  return { id, host: 'host', pid: 1, version: '0.0.0', queues: ['default'] };
}

/** Takes down what the engine reports. */
export class Recorder implements EngineReporter {
  readonly events: { readonly kind: TaskEventKind; readonly event: TaskEventMap[TaskEventKind] }[] = [];
  readonly logs: string[] = [];

  event<Kind extends TaskEventKind>(kind: Kind, event: TaskEventMap[Kind]): void {
    this.events.push({ kind, event });
  }

  log(level: 'log' | 'warn' | 'error', message: string): void {
    this.logs.push(`${level}: ${message}`);
  }

  of<Kind extends TaskEventKind>(kind: Kind): TaskEventMap[Kind][] {
    return this.events.filter((one) => one.kind === kind).map((one) => one.event as TaskEventMap[Kind]);
  }
}

/** A lease whose end the test decides. */
export class FakeLease implements Lease {
  remaining = 30_000;
  ended = false;
  lost = false;
  readonly sustained: number[] = [];

  constructor(readonly workerId = `worker-${++ids}`) {}

  remainingMs(): number {
    return this.remaining;
  }

  sustain(withinMs: number): void {
    this.sustained.push(withinMs);
  }

  lose(): void {
    this.remaining = 0;
    this.lost = true;
  }

  async end(): Promise<void> {
    this.ended = true;
  }
}

/** What the fake stores of these tests call transient. */
export class TransientError extends Error {}

export interface Deferred<Value> {
  readonly promise: Promise<Value>;
  resolve(value: Value): void;
  reject(error: unknown): void;
}

export function deferred<Value = void>(): Deferred<Value> {
  let settle!: Pick<Deferred<Value>, 'resolve' | 'reject'>;
  const promise = new Promise<Value>((resolve, reject) => {
    settle = { resolve, reject };
  });
  return { promise, ...settle };
}

/** Lets all promises go on that wait for nothing but each other. */
export async function ticks(count = 50): Promise<void> {
  for (let i = 0; i < count; i++) await Promise.resolve();
}

/** Whether the promise has settled by now. */
export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void Promise.allSettled([promise]).then(() => {
    settled = true;
  });
  await ticks();
  return settled;
}
