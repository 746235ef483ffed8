import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CurrentTask } from '../../lib/engine/current-task.js';
import { DeadlineWatch } from '../../lib/engine/deadline-watch.js';
import { Execution } from '../../lib/engine/execution.js';
import type { Outcome } from '../../lib/engine/settlement.js';
import type { TaskHandler } from '../../lib/engine/task-definition.js';
import {
  LeaseLostError,
  ShutdownError,
  TaskCancelledError,
  TaskTimeoutError,
} from '../../lib/errors/execution.errors.js';
import { claimedTask, deferred, isSettled, ticks } from './engine.fixtures.js';

const timeoutMs = 1_000;
const execute = () => new Execution(claimedTask(), { maxRetries: 3, timeoutMs }, new DeadlineWatch());
/** Runs it and tells the outcome. */
const outcomeOf = (execution: Execution, handler: TaskHandler) =>
  new Promise<Outcome>((resolve) => execution.run(handler, resolve));
const forever = () => new Promise<never>(() => {});

/** Runs a handler that never settles and gives what it was handed. */
function start(execution: Execution) {
  let current!: CurrentTask;
  const over = outcomeOf(execution, (_, task) => {
    current = task;
    return forever();
  });
  return { over, current };
}

describe('an execution', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  const error = new Error('no');
  /** What an `await` takes for a promise. */
  const withThen = (then: () => unknown) => new Proxy({}, { get: (_, key) => (key === 'then' ? then() : undefined) });
  const thenable = withThen(() => (_: unknown, reject: (error: unknown) => void) => reject(error));
  const hostile = withThen(() => {
    throw error;
  });

  it.each<[string, TaskHandler, object]>([
    ['returns a value', () => 1, { kind: 'returned', value: 1 }],
    ['returns a promise', async () => {}, { kind: 'returned' }],
    [
      'throws at once',
      () => {
        throw error;
      },
      { kind: 'threw', error },
    ],
    ['rejects', () => Promise.reject(error), { kind: 'threw', error }],
    ['rejects with undefined', () => Promise.reject(undefined), { kind: 'threw', error: undefined }],
    ['returns a thenable that rejects', () => thenable, { kind: 'threw', error }],
    ['returns something whose then cannot be read', () => hostile, { kind: 'threw', error }],
    [
      'throws one of our own errors',
      () => {
        throw new LeaseLostError('work', 'id');
      },
      { kind: 'threw', error: expect.any(LeaseLostError) as unknown },
    ],
  ])('tells that its handler %s, and leaves no timer behind', async (_, handler, outcome) => {
    expect(await outcomeOf(execute(), handler)).toEqual(outcome);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('calls its handler at once, with the payload and the task as it is', async () => {
    const task = claimedTask({ payload: { a: 1 }, attempt: 4, retries: 2, claimSeq: 9, createdAt: 5, scheduledAt: 6 });
    const handler = vi.fn();
    void outcomeOf(new Execution(task, { maxRetries: 7, timeoutMs }, new DeadlineWatch()), handler);
    expect(handler).toHaveBeenCalledOnce();
    const [payload, current] = handler.mock.calls[0] as [unknown, CurrentTask];
    expect(payload).toEqual({ a: 1 });
    const { id, name, queue, attempt, retries, maxRetries, fencingToken, createdAt, scheduledAt } = current;
    expect({ id, name, queue, attempt, retries, maxRetries, timeoutMs: current.timeoutMs, fencingToken }).toEqual({
      id: task.id,
      name: 'work',
      queue: 'default',
      attempt: 4,
      retries: 2,
      maxRetries: 7,
      timeoutMs,
      fencingToken: 9,
    });
    expect([createdAt, scheduledAt]).toEqual([new Date(5), new Date(6)]);
    expect(current.signal.aborted).toBe(false);
  });

  it('leaves no timer behind when it is over before its handler returns', async () => {
    const execution = execute();
    const outcome = await outcomeOf(execution, () => {
      execution.cancel();
      return forever();
    });
    expect(outcome).toMatchObject({ kind: 'cancelled' });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('times out after its timeout, not before', async () => {
    const execution = execute();
    const { over, current } = start(execution);
    const { signal } = current;
    expect(execution.deadline).toBe(performance.now() + timeoutMs);
    await vi.advanceTimersByTimeAsync(timeoutMs - 1);
    expect(await isSettled(over)).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(await over).toEqual({ kind: 'timedOut', error: expect.any(TaskTimeoutError) as unknown });
    expect(signal.reason).toBeInstanceOf(TaskTimeoutError);
    expect((signal.reason as Error).message).toContain('Task "work" did not finish within 1000 ms');
  });

  const endings: [string, (execution: Execution) => void, object, new (...args: never[]) => Error][] = [
    [
      'cancelled',
      (execution) => execution.cancel(),
      { kind: 'cancelled', error: expect.any(TaskCancelledError) as unknown },
      TaskCancelledError,
    ],
    ['interrupted', (execution) => execution.interrupt(), { kind: 'interrupted' }, ShutdownError],
    ['lost', (execution) => execution.lose(), { kind: 'lost' }, LeaseLostError],
    [
      'timed out',
      () => void vi.advanceTimersByTime(timeoutMs),
      { kind: 'timedOut', error: expect.any(TaskTimeoutError) as unknown },
      TaskTimeoutError,
    ],
  ];

  it.each(endings)('is over when it is %s, and aborts its signal with the reason', async (_, end, outcome, reason) => {
    const execution = execute();
    const { over, current } = start(execution);
    const { signal } = current;
    const heard: unknown[] = [];
    signal.addEventListener('abort', () => heard.push(signal.reason));
    end(execution);
    expect(await over).toEqual(outcome);
    expect(heard).toEqual([expect.any(reason)]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it.each(endings)('gives an aborted signal to a handler that asks once it was %s', async (_, end, __, reason) => {
    const execution = execute();
    const { over, current } = start(execution);
    end(execution);
    await over;
    expect(current.signal.aborted).toBe(true);
    expect(current.signal.reason).toBeInstanceOf(reason);
    expect(current.signal).toBe(current.signal);
  });

  it('gives a signal that is not aborted to a handler that asks for it after it has returned', async () => {
    let current!: CurrentTask;
    await outcomeOf(execute(), (_, task) => {
      current = task;
    });
    expect(current.signal.aborted).toBe(false);
  });

  it('keeps its outcome when a listener of its signal makes the handler return', async () => {
    const execution = execute();
    const over = outcomeOf(
      execution,
      (_, task) => new Promise<void>((resolve) => task.signal.addEventListener('abort', () => resolve())),
    );
    execution.cancel();
    expect(await over).toMatchObject({ kind: 'cancelled' });
  });

  it('never calls its handler when it has ended before it runs', async () => {
    const execution = execute();
    execution.interrupt();
    const handler = vi.fn();
    expect(await outcomeOf(execution, handler)).toEqual({ kind: 'interrupted' });
    expect(handler).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('has the outcome of whatever ends it first', async () => {
    const ends = { returned: 0, threw: 0, timedOut: 0, cancelled: 0, interrupted: 0, lost: 0 };
    const kind = fc.constantFrom(...(Object.keys(ends) as (keyof typeof ends)[]));
    await fc.assert(
      fc.asyncProperty(fc.array(kind, { minLength: 1, maxLength: 6 }), fc.boolean(), async (kinds, early) => {
        const execution = execute();
        const handler = deferred();
        let current!: CurrentTask;
        const over = outcomeOf(execution, (_, task) => {
          current = task;
          if (early) void task.signal;
          return handler.promise;
        });
        for (const kind of kinds) {
          switch (kind) {
            case 'returned':
              handler.resolve();
              break;
            case 'threw':
              handler.reject(new Error('no'));
              break;
            case 'timedOut':
              await vi.advanceTimersByTimeAsync(timeoutMs);
              break;
            case 'cancelled':
              execution.cancel();
              break;
            case 'interrupted':
              execution.interrupt();
              break;
            case 'lost':
              execution.lose();
          }
          await ticks(10);
        }
        const [first] = kinds;
        expect((await over).kind).toBe(first);
        expect(current.signal.aborted).toBe(first !== 'returned' && first !== 'threw');
        expect(vi.getTimerCount()).toBe(0);
      }),
    );
  });
});

describe('a handler that goes on after its execution is over', () => {
  it('may reject without anybody noticing', async () => {
    const unhandled = vi.fn();
    process.on('unhandledRejection', unhandled);
    try {
      const execution = execute();
      const handler = deferred();
      const over = outcomeOf(execution, () => handler.promise);
      execution.cancel();
      expect(await over).toMatchObject({ kind: 'cancelled' });
      handler.reject(new Error('too late'));
      // Node reports rejections after the microtasks of a turn.
      for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
      expect(unhandled).not.toHaveBeenCalled();
    } finally {
      process.off('unhandledRejection', unhandled);
    }
  });
});
