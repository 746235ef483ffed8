import type { TaskOutcome } from '../engine/task-store.js';
import type { ClaimedTask, Task, TaskAttempt } from '../engine/task.js';
import type { StoredAttempt, StoredTask } from './stored-task.js';

/** What leaves the store of a task, to one or another: always copies, so that nobody shares an object with anybody. */

export function asClaimedTask(task: StoredTask, now: number): ClaimedTask {
  return {
    id: task.id,
    name: task.name,
    queue: task.queue,
    payload: JSON.parse(task.payload) as unknown,
    priority: task.priority,
    attempt: task.attempt,
    retries: task.retries,
    crashes: task.crashes,
    maxRetries: task.maxRetries,
    timeoutMs: task.timeoutMs,
    claimSeq: task.claimSeq,
    createdAt: task.createdAt,
    scheduledAt: task.scheduledAt,
    expiresInMs: task.attempt === 1 && task.expiresAt !== Infinity ? task.expiresAt - now : null,
    lane: task.lane,
  };
}

export function asTask(task: StoredTask): Task {
  return {
    id: task.id,
    name: task.name,
    queue: task.queue,
    state: task.state,
    payload: JSON.parse(task.payload) as unknown,
    priority: task.priority,
    uniqueKey: task.uniqueKey,
    concurrencyKey: task.lane,
    attempt: task.attempt,
    retries: task.retries,
    maxRetries: task.maxRetries,
    timeoutMs: task.timeoutMs,
    crashes: task.crashes,
    claimSeq: task.claimSeq,
    workerId: task.workerId,
    createdAt: new Date(task.createdAt),
    scheduledAt: new Date(task.scheduledAt),
    startedAt: task.startedAt === null ? null : new Date(task.startedAt),
    finishedAt: task.finishedAt === null ? null : new Date(task.finishedAt),
    expiresAt: task.expiresAt === Infinity ? null : new Date(task.expiresAt),
    reason: task.reason,
    attempts: attemptsOf(task).map(asAttempt),
    result: task.result === null ? undefined : (JSON.parse(task.result) as unknown),
    deadFrom: task.deadFrom,
  };
}

export function asOutcome({ name, queue, deadFrom, state, result, attempts, reason }: StoredTask): TaskOutcome {
  const error = state === 'failed' || state === 'cancelled' ? attempts.at(-1)?.error : undefined;
  return {
    name,
    queue: deadFrom ?? queue,
    state,
    ...(result !== null && { result: JSON.parse(result) as unknown }),
    ...(error && { error: structuredClone(error) }),
    ...(reason && { reason }),
  };
}

/** Nothing is written down of an attempt that succeeds: the task itself tells all of it. */
function attemptsOf({ state, attempts, attempt, lastWorkerId, startedAt, finishedAt }: StoredTask): StoredAttempt[] {
  if (state !== 'done' || lastWorkerId === null || startedAt === null || finishedAt === null) return attempts;
  return [...attempts, { number: attempt, outcome: 'done', workerId: lastWorkerId, startedAt, finishedAt }];
}

function asAttempt(attempt: StoredAttempt): TaskAttempt {
  return {
    ...structuredClone(attempt),
    startedAt: new Date(attempt.startedAt),
    finishedAt: new Date(attempt.finishedAt),
  };
}
