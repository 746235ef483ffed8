import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DeadlineWatch } from '../../lib/engine/deadline-watch.js';
import { Execution } from '../../lib/engine/execution.js';
import type { Outcome } from '../../lib/engine/settlement.js';
import type { TaskState } from '../../lib/engine/task.js';
import type { TaskHandler } from '../../lib/engine/task-definition.js';
import type { Settlement } from '../../lib/engine/task-store.js';
import type { TaskTransaction } from '../../lib/engine/task-transaction.js';
import { TransactionalAttempt } from '../../lib/engine/transactional-attempt.js';
import { claimedTask, deferred, ticks } from './engine.fixtures.js';

const timeoutMs = 1_000;
const settlement: Settlement = { kind: 'release', id: 'task', queue: 'default', claimSeq: 1 };

/** A transaction that writes down what becomes of it, and does what the test says. */
class FakeTransaction implements TaskTransaction {
  readonly manager = { of: 'the test' };
  readonly calls: string[] = [];
  closed = Promise.resolve();
  settled: Promise<TaskState | 'conflict' | undefined> = Promise.resolve('done');
  committed = Promise.resolve(true);

  close(): Promise<void> {
    this.calls.push('close');
    return this.closed;
  }

  settle(workerId: string): Promise<TaskState | 'conflict' | undefined> {
    this.calls.push(`settle by ${workerId}`);
    return this.settled;
  }

  commit(): Promise<boolean> {
    this.calls.push('commit');
    return this.committed;
  }

  async rollback(): Promise<void> {
    this.calls.push('rollback');
  }
}

describe('a transactional attempt', () => {
  let transaction: FakeTransaction;
  let execution: Execution;
  let outcome: Outcome | undefined;

  beforeEach(() => {
    vi.useFakeTimers();
    transaction = new FakeTransaction();
    execution = new Execution(claimedTask(), { maxRetries: 3, timeoutMs }, new DeadlineWatch());
    outcome = undefined;
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  function start(handler: TaskHandler = () => {}, begin: () => Promise<TaskTransaction> = async () => transaction) {
    new TransactionalAttempt(execution, 'worker', handler, begin, () => settlement).run((ended) => {
      outcome = ended;
    });
  }

  const whole = ['close', 'settle by worker', 'commit'];
  const forever = () => new Promise<never>(() => {});

  it('closes, settles and commits, in this order, when its handler has returned', async () => {
    let manager: unknown;
    start((_, task) => {
      ({ manager } = task);
    });
    await ticks();
    expect(manager).toBe(transaction.manager);
    expect(transaction.calls).toEqual(whole);
    expect(outcome).toEqual({ kind: 'committed', settlement, state: 'done' });
  });

  it('is lost, and rolls back, when there is nothing to settle', async () => {
    transaction.settled = Promise.resolve(undefined);
    start();
    await ticks();
    expect(transaction.calls).toEqual(['close', 'settle by worker', 'rollback']);
    expect(outcome).toEqual({ kind: 'lost' });
  });

  it('does not count, and rolls back first, when its settlement is lost against others', async () => {
    transaction.settled = Promise.resolve('conflict');
    start();
    await ticks();
    expect(transaction.calls).toEqual(['close', 'settle by worker', 'rollback']);
    expect(outcome).toEqual({ kind: 'interrupted' });
  });

  it('does not know what came of it when nobody answers its COMMIT', async () => {
    transaction.committed = Promise.resolve(false);
    start();
    await ticks();
    expect(transaction.calls).toEqual(whole);
    expect(outcome).toEqual({ kind: 'unanswered', settlement });
  });

  it.each(['settled', 'committed'] as const)('has failed when it cannot be %s', async (step) => {
    const error = new Error('no');
    const failure = Promise.reject(error);
    failure.catch(() => {});
    Object.assign(transaction, { [step]: failure });
    start();
    await ticks();
    expect(transaction.calls.at(-1)).toBe('rollback');
    expect(outcome).toEqual({ kind: 'threw', error });
  });

  it('rolls back before its outcome is told, when its handler throws', async () => {
    const error = new Error('no');
    start(() => Promise.reject(error));
    await ticks();
    expect(transaction.calls).toEqual(['rollback']);
    expect(outcome).toEqual({ kind: 'threw', error });
  });

  it.each<[string, (attempt: Execution) => unknown]>([
    ['cancelled', (attempt) => attempt.cancel()],
    ['interrupted', (attempt) => attempt.interrupt()],
    ['lost', (attempt) => attempt.lose()],
    ['timedOut', () => vi.advanceTimersByTime(timeoutMs)],
  ])('rolls back when it is %s', async (kind, end) => {
    start(forever);
    await ticks();
    end(execution);
    await ticks();
    expect(transaction.calls).toEqual(['rollback']);
    expect(outcome).toMatchObject({ kind });
  });

  it.each<[string, (attempt: Execution) => unknown]>([
    ['a cancel', (attempt) => attempt.cancel()],
    ['a shutdown', (attempt) => attempt.interrupt()],
    ['the loss of the lease', (attempt) => attempt.lose()],
    ['its timeout', () => vi.advanceTimersByTime(timeoutMs)],
  ])('is not ended by %s once its handler has returned: the fence decides', async (_, end) => {
    const settled = deferred<TaskState | undefined>();
    transaction.settled = settled.promise;
    start();
    await ticks();
    end(execution);
    await ticks();
    expect(outcome).toBeUndefined();
    settled.resolve('done');
    await ticks();
    expect(transaction.calls).toEqual(whole);
    expect(outcome).toMatchObject({ kind: 'committed' });
  });

  it('may still time out while statements are under way that its handler has not waited for', async () => {
    transaction.closed = forever();
    start();
    await ticks();
    vi.advanceTimersByTime(timeoutMs);
    await ticks();
    expect(transaction.calls).toEqual(['close', 'rollback']);
    expect(outcome).toMatchObject({ kind: 'timedOut' });
  });

  it('ends while it waits for a connection, and gives back the one that comes too late', async () => {
    const handler = vi.fn();
    const connection = deferred<TaskTransaction>();
    start(handler, () => connection.promise);
    await ticks();
    vi.advanceTimersByTime(timeoutMs);
    await ticks();
    expect(outcome).toMatchObject({ kind: 'timedOut' });
    connection.resolve(transaction);
    await ticks();
    expect(transaction.calls).toEqual(['rollback']);
    expect(handler).not.toHaveBeenCalled();
  });

  it('has failed when its transaction cannot begin', async () => {
    const error = new Error('no connection');
    start(forever, () => Promise.reject(error));
    await ticks();
    expect(outcome).toEqual({ kind: 'threw', error });
  });
});
