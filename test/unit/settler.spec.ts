import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Settler } from '../../lib/engine/settler.js';
import type { Settlement, TaskStore } from '../../lib/engine/task-store.js';
import type { TaskState } from '../../lib/engine/task.js';
import { deferred, FakeLease, isSettled, Recorder, ticks, TransientError } from './engine.fixtures.js';

type Settle = TaskStore['settle'];

const claim = (id: string) => ({ id, queue: 'default', claimSeq: 1 });
const done = (id: string): Settlement => {
  return { ...claim(id), kind: 'finish', state: 'done', keepMs: null, attempt: null };
};
const release = (id: string): Settlement => ({ ...claim(id), kind: 'release' });
const states = (...ids: string[]) => new Map(ids.map((id) => [id, 'done' as TaskState]));
const all = async (_: string, settlements: readonly Settlement[]) => states(...settlements.map(({ id }) => id));

describe('a settler', () => {
  let settle: ReturnType<typeof vi.fn<Settle>>;
  let settler: Settler;
  let recorder: Recorder;
  let lease: FakeLease;

  beforeEach(() => {
    vi.useFakeTimers();
    settle = vi.fn<Settle>(all);
    recorder = new Recorder();
    const store = { settle, isTransient: (error: unknown) => error instanceof TransientError };
    settler = new Settler(store as unknown as TaskStore, (doing, error) =>
      recorder.log('error', `${doing}: ${String(error)}`),
    );
    lease = new FakeLease('worker');
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  /** Which tasks each statement named. */
  const statements = () => settle.mock.calls.map(([, settlements]) => settlements.map(({ id }) => id));
  const settleAll = (...ids: string[]) => Promise.all(ids.map((id) => settler.settle(lease, done(id))));

  it('writes settlements that are ready together in one statement', async () => {
    expect(await settleAll('a', 'b', 'c')).toEqual(['done', 'done', 'done']);
    expect(settle.mock.calls).toEqual([['worker', [done('a'), done('b'), done('c')]]]);
  });

  it('collects the next statement while one is under way', async () => {
    const first = deferred<ReadonlyMap<string, TaskState>>();
    settle.mockReturnValueOnce(first.promise);
    const a = settleAll('a');
    await ticks();
    const others = settleAll('b', 'c');
    await ticks();
    expect(statements()).toEqual([['a']]);
    first.resolve(states('a'));
    await Promise.all([a, others]);
    expect(statements()).toEqual([['a'], ['b', 'c']]);
  });

  it('tells that a task is lost which another claim has taken', async () => {
    settle.mockResolvedValueOnce(states('a'));
    expect(await settleAll('a', 'b')).toEqual(['done', 'lost']);
  });

  it('takes the answer for two claims of one task for that of the newer one', async () => {
    const older = settler.settle(lease, done('a'));
    const newer = settler.settle(lease, { ...done('a'), claimSeq: 2 });
    const other = settler.settle(lease, done('b'));
    expect(await Promise.all([older, newer, other])).toEqual(['lost', 'done', 'done']);
    const underAnother = settler.settle(new FakeLease('other'), { ...done('c'), claimSeq: 2 });
    settle.mockImplementationOnce(async () => states('c')).mockImplementationOnce(async () => states());
    expect(await Promise.all([settler.settle(lease, done('c')), underAnother])).toEqual(['lost', 'done']);
  });

  it('tries again while the database does not answer', async () => {
    for (let i = 0; i < 5; i++) settle.mockRejectedValueOnce(new TransientError('no answer'));
    const verdicts = settleAll('a', 'b');
    await vi.advanceTimersByTimeAsync(50 + 100 + 200 + 400 + 799);
    expect(settle).toHaveBeenCalledTimes(5);
    await vi.advanceTimersByTimeAsync(1);
    expect(await verdicts).toEqual(['done', 'done']);
    expect(statements()).toEqual(Array.from({ length: 6 }, () => ['a', 'b']));
  });

  it('pauses at most two seconds between its tries', async () => {
    lease.remaining = Infinity;
    settle.mockRejectedValue(new TransientError('no answer'));
    const verdicts = settleAll('a');
    await vi.advanceTimersByTimeAsync(60_000);
    expect(settle.mock.calls.length).toBeGreaterThanOrEqual(30);
    settle.mockImplementation(all);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(await verdicts).toEqual(['done']);
  });

  it('counts as settled what a try without an answer has committed, while the lease holds', async () => {
    settle.mockRejectedValueOnce(new TransientError('lost reply')).mockResolvedValueOnce(states('b'));
    const verdicts = settleAll('a', 'b');
    await vi.advanceTimersByTimeAsync(50);
    expect(await verdicts).toEqual(['done', 'done']);
  });

  it('counts as lost what the store may have forgotten, though a try had no answer', async () => {
    settle.mockRejectedValueOnce(new TransientError('lost reply')).mockResolvedValueOnce(states());
    const written = vi.fn();
    settler.write({ lease, settlement: done('a'), forgotten: true, written });
    await vi.advanceTimersByTimeAsync(50);
    expect(written.mock.calls).toEqual([['lost']]);
  });

  describe('after a transaction whose COMMIT was not answered', () => {
    /** What becomes of a settlement that is written in case that the transaction has not settled the task. */
    const afterwards = () =>
      new Promise((written) => settler.write({ lease, settlement: release('a'), before: done('a'), written }));

    it('settles the task when the transaction has not', async () => {
      settle.mockResolvedValueOnce(new Map([['a', 'ready']]));
      expect(await afterwards()).toBe('ready');
    });

    it('lets stand what the transaction has settled', async () => {
      settle.mockResolvedValueOnce(new Map());
      expect(await afterwards()).toBe('before');
    });

    it('counts the task as lost that the store may have forgotten', async () => {
      settle.mockResolvedValueOnce(new Map());
      const written = vi.fn();
      settler.write({ lease, settlement: release('a'), before: done('a'), forgotten: true, written });
      await vi.advanceTimersByTimeAsync(0);
      expect(written.mock.calls).toEqual([['lost']]);
    });

    it('counts the task as lost when the lease has ended by then', async () => {
      settle.mockImplementationOnce(async () => {
        lease.remaining = 0;
        return new Map();
      });
      expect(await afterwards()).toBe('lost');
    });

    it('counts the task as lost when this one was not answered either, since either may have settled it', async () => {
      settle.mockRejectedValueOnce(new TransientError('lost reply')).mockResolvedValueOnce(new Map());
      const verdict = afterwards();
      await vi.advanceTimersByTimeAsync(1_000);
      expect(await verdict).toBe('lost');
    });
  });

  it('counts it as lost when the lease has ended by then', async () => {
    settle.mockRejectedValueOnce(new TransientError('lost reply')).mockImplementationOnce(async () => {
      lease.remaining = 0;
      return states('b');
    });
    const verdicts = settleAll('a', 'b');
    await vi.advanceTimersByTimeAsync(50);
    expect(await verdicts).toEqual(['lost', 'done']);
  });

  it('answers the state that the store has written, not the one that was asked for', async () => {
    settle.mockResolvedValueOnce(
      new Map([
        ['a', 'cancelled'],
        ['b', 'ready'],
      ]),
    );
    const verdicts = Promise.all([settler.settle(lease, release('a')), settler.settle(lease, release('b'))]);
    expect(await verdicts).toEqual(['cancelled', 'ready']);
  });

  it.each<[TaskState, Settlement]>([
    ['ready', release('a')],
    [
      'ready',
      { ...claim('a'), kind: 'retry', delayMs: 5, attempt: { number: 1, outcome: 'failed', error: undefined } },
    ],
    ['failed', { ...claim('a'), kind: 'finish', state: 'failed', keepMs: Infinity, attempt: null }],
    ['cancelled', { ...claim('a'), kind: 'finish', state: 'cancelled', keepMs: null, attempt: null }],
  ])('answers %s, as was asked for, when only the first try can have written it', async (state, settlement) => {
    settle.mockRejectedValueOnce(new TransientError('lost reply')).mockResolvedValueOnce(new Map());
    const verdict = settler.settle(lease, settlement);
    await vi.advanceTimersByTimeAsync(50);
    expect(await verdict).toBe(state);
  });

  it('answers what the store says when a try after one without an answer finds the task', async () => {
    settle.mockRejectedValueOnce(new TransientError('no answer')).mockResolvedValueOnce(new Map([['a', 'cancelled']]));
    const verdict = settler.settle(lease, release('a'));
    await vi.advanceTimersByTimeAsync(50);
    expect(await verdict).toBe('cancelled');
  });

  it('is overloaded while its writes fail, until one succeeds', async () => {
    settle.mockRejectedValueOnce(new TransientError('no answer')).mockRejectedValueOnce(new TransientError('again'));
    const verdicts = settleAll('a');
    await ticks();
    expect(settler.overloaded).toBe(true);
    await vi.advanceTimersByTimeAsync(50);
    expect(settler.overloaded).toBe(true);
    await vi.advanceTimersByTimeAsync(100);
    expect(await verdicts).toEqual(['done']);
    expect(settler.overloaded).toBe(false);
  });

  it('is not overloaded for settlements that cannot be stored, nor when the lease has ended', async () => {
    settle.mockRejectedValueOnce(new TransientError('no answer')).mockRejectedValueOnce(new Error('not storable'));
    const verdicts = settleAll('a');
    await vi.advanceTimersByTimeAsync(50);
    await verdicts;
    expect(settler.overloaded).toBe(false);
    settle.mockRejectedValueOnce(new TransientError('no answer'));
    const late = settleAll('b');
    await ticks();
    expect(settler.overloaded).toBe(true);
    lease.remaining = 0;
    await vi.advanceTimersByTimeAsync(50);
    expect(await late).toEqual(['lost']);
    expect(settler.overloaded).toBe(false);
  });

  it('stops trying when the lease has ended', async () => {
    settle.mockRejectedValue(new TransientError('no answer'));
    const verdicts = settleAll('a', 'b');
    await vi.advanceTimersByTimeAsync(49);
    expect(await isSettled(verdicts)).toBe(false);
    lease.remaining = 0;
    await vi.advanceTimersByTimeAsync(1);
    expect(await verdicts).toEqual(['lost', 'lost']);
    expect(settle).toHaveBeenCalledOnce();
  });

  it('writes nothing under a lease that has ended', async () => {
    lease.remaining = -1;
    expect(await settleAll('a')).toEqual(['lost']);
    expect(settle).not.toHaveBeenCalled();
  });

  it('writes the settlements of each worker under its own name', async () => {
    const other = new FakeLease('other');
    const verdicts = [
      settler.settle(lease, done('a')),
      settler.settle(other, done('b')),
      settler.settle(lease, done('c')),
    ];
    expect(await Promise.all(verdicts)).toEqual(['done', 'done', 'done']);
    expect(settle.mock.calls).toEqual([
      ['worker', [done('a'), done('c')]],
      ['other', [done('b')]],
    ]);
  });

  it('splits a statement with a bad settlement apart, and loses that one alone', async () => {
    settle.mockImplementation(async (worker, settlements) => {
      if (settlements.some(({ id }) => id === 'c')) throw new Error('not storable');
      return all(worker, settlements);
    });
    expect(await settleAll('a', 'b', 'c', 'd', 'e')).toEqual(['done', 'done', 'lost', 'done', 'done']);
    expect(recorder.logs).toEqual([expect.stringMatching(/^error: record the outcome of task c.*not storable/)]);
  });

  it('is overloaded while five thousand settlements wait, and idle when all are written', async () => {
    const answer = deferred();
    settle.mockImplementation(async (worker, settlements) => {
      await answer.promise;
      return all(worker, settlements);
    });
    const verdicts = settleAll(...Array.from({ length: 4_999 }, (_, i) => String(i)));
    await ticks();
    expect(settler.overloaded).toBe(false);
    const last = settleAll('last');
    await ticks();
    expect(settler.overloaded).toBe(true);
    const idle = settler.idle();
    expect(await isSettled(idle)).toBe(false);
    answer.resolve();
    await Promise.all([verdicts, last, idle]);
    expect(settler.overloaded).toBe(false);
    expect(Math.max(...settle.mock.calls.map(([, settlements]) => settlements.length))).toBe(1_000);
  });
});
