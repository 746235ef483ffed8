import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Audit } from '../../lib/engine/audit.js';
import type { QueueWorker } from '../../lib/engine/queue-worker.js';
import type { Settler } from '../../lib/engine/settler.js';
import type { Holding, TaskStore } from '../../lib/engine/task-store.js';
import { deferred, FakeLease, ticks } from './engine.fixtures.js';

const holding = (id: string, fields: Partial<Holding> = {}): Holding => {
  return { id, queue: 'default', claimSeq: 1, cancelRequested: false, ...fields };
};
const release = (id: string, claimSeq = 1) => ({ kind: 'release', id, queue: 'default', claimSeq });

/** As much of a queue's worker as an audit looks at. */
class FakeWorker {
  running = 1;
  pendingSince = Infinity;
  readonly held = new Set<string>();
  /** 1 where nothing stands. */
  readonly claims = new Map<string, number>();
  readonly cancel = vi.fn<QueueWorker['cancel']>();
  readonly loseOthers = vi.fn<QueueWorker['loseOthers']>();

  holds(id: string): boolean {
    return this.held.has(id);
  }

  collectHeld(into: Set<string>): void {
    for (const id of this.held) into.add(`${id} ${this.claims.get(id) ?? 1}`);
  }
}

describe('an audit', () => {
  const lease = new FakeLease('worker');
  let worker: FakeWorker;
  let other: FakeWorker;
  let holdings: ReturnType<typeof vi.fn<TaskStore['holdings']>>;
  let settle: ReturnType<typeof vi.fn<Settler['settle']>>;
  let held: FakeLease | undefined;
  const failures: string[] = [];
  let audit: Audit;

  beforeEach(() => {
    vi.useFakeTimers();
    failures.length = 0;
    held = lease;
    [worker, other] = [new FakeWorker(), new FakeWorker()];
    holdings = vi.fn<TaskStore['holdings']>(async () => []);
    settle = vi.fn<Settler['settle']>(async () => 'ready');
    audit = new Audit(
      { holdings } as unknown as TaskStore,
      { settle } as unknown as Settler,
      [worker, other] as unknown as QueueWorker[],
      () => held,
      (doing, error) => failures.push(`${doing}: ${String(error)}`),
    );
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  async function check(): Promise<void> {
    await audit.check();
    await vi.advanceTimersByTimeAsync(1_000);
  }

  it('cancels what somebody wants cancelled, at the first look', async () => {
    worker.held.add('a');
    holdings.mockResolvedValue([holding('a', { cancelRequested: true, claimSeq: 3 }), holding('b')]);
    await check();
    expect(holdings).toHaveBeenCalledExactlyOnceWith('worker');
    const attempt = { id: 'a', queue: 'default', claimSeq: 3 };
    expect(worker.cancel.mock.calls).toEqual([[attempt]]);
    expect(other.cancel.mock.calls).toEqual([[attempt]]);
    expect(settle).not.toHaveBeenCalled();
  });

  it('tells each worker which claims the store knows of, and since when that is true', async () => {
    worker.held.add('a');
    holdings.mockResolvedValue([holding('a', { claimSeq: 3 }), holding('b')]);
    const lookedAt = performance.now();
    await check();
    const known = new Map([
      ['a', 3],
      ['b', 1],
    ]);
    for (const one of [worker, other]) expect(one.loseOthers.mock.calls).toEqual([[lease, known, lookedAt]]);
  });

  it('looks at once when it is told of a wish to cancel what is held here, and cancels that attempt', async () => {
    worker.held.add('a');
    holdings.mockResolvedValue([holding('a', { cancelRequested: true, claimSeq: 2 })]);
    audit.cancelRequested('a');
    await ticks();
    expect(worker.cancel.mock.calls).toEqual([[{ id: 'a', queue: 'default', claimSeq: 2 }]]);
  });

  it('cancels nothing for a wish that the store does not know of, as one for an attempt that is over', async () => {
    worker.held.add('a');
    holdings.mockResolvedValue([holding('a', { claimSeq: 2 })]);
    audit.cancelRequested('a');
    await ticks();
    expect(holdings).toHaveBeenCalledOnce();
    expect(worker.cancel).not.toHaveBeenCalled();
  });

  it('does not look for a wish to cancel what another process holds', async () => {
    worker.held.add('a');
    audit.cancelRequested('b');
    await ticks();
    expect(holdings).not.toHaveBeenCalled();
  });

  it('looks once more when wishes to cancel come while it looks, however many', async () => {
    other.held.add('a');
    const answer = deferred<Holding[]>();
    holdings.mockReturnValueOnce(answer.promise);
    holdings.mockResolvedValue([holding('a', { cancelRequested: true })]);
    void audit.check();
    for (let i = 0; i < 3; i++) audit.cancelRequested('a');
    expect(holdings).toHaveBeenCalledOnce();
    // From before the wish.
    answer.resolve([holding('a')]);
    await ticks();
    expect(holdings).toHaveBeenCalledTimes(2);
    expect(other.cancel).toHaveBeenCalledOnce();
  });

  it('gives back what is unknown here at two looks in a row', async () => {
    worker.held.add('a');
    other.held.add('b');
    holdings.mockResolvedValue([holding('a'), holding('b'), holding('stray', { claimSeq: 3 })]);
    await check();
    expect(settle).not.toHaveBeenCalled();
    await check();
    expect(settle.mock.calls).toEqual([[lease, release('stray', 3)]]);
  });

  it('gives nothing back that a call under way since before the first look may still bring', async () => {
    worker.pendingSince = performance.now();
    await vi.advanceTimersByTimeAsync(1);
    holdings.mockResolvedValue([holding('a')]);
    for (let i = 0; i < 5; i++) await check();
    expect(settle).not.toHaveBeenCalled();
    // That call has failed, and the next one cannot bring what was there before it began.
    worker.pendingSince = performance.now();
    await vi.advanceTimersByTimeAsync(1);
    await check();
    expect(settle.mock.calls).toEqual([[lease, release('a')]]);
  });

  it('forgets a stray that has found its worker, and does not take a new claim for the old one', async () => {
    holdings.mockResolvedValueOnce([holding('a'), holding('b')]);
    await check();
    worker.held.add('a');
    holdings.mockResolvedValueOnce([holding('a'), holding('b', { claimSeq: 2 })]);
    await check();
    worker.held.clear();
    holdings.mockResolvedValueOnce([holding('a')]);
    await check();
    expect(settle).not.toHaveBeenCalled();
  });

  it('looks only while something runs, or for a while after something failed', async () => {
    worker.running = other.running = 0;
    await vi.advanceTimersByTimeAsync(1);
    await check();
    expect(holdings).not.toHaveBeenCalled();
    audit.suspect();
    await vi.advanceTimersByTimeAsync(119_000);
    await check();
    expect(holdings).toHaveBeenCalledOnce();
    await vi.advanceTimersByTimeAsync(1);
    await check();
    expect(holdings).toHaveBeenCalledOnce();
    other.running = 1;
    await check();
    expect(holdings).toHaveBeenCalledTimes(2);
  });

  it('does not look without a lease, nor twice at once', async () => {
    held = undefined;
    await check();
    expect(holdings).not.toHaveBeenCalled();
    held = lease;
    const answer = deferred<Holding[]>();
    holdings.mockReturnValueOnce(answer.promise);
    void audit.check();
    await check();
    expect(holdings).toHaveBeenCalledOnce();
    answer.resolve([]);
    await ticks();
    await check();
    expect(holdings).toHaveBeenCalledTimes(2);
  });

  it('reports a look that failed and looks again', async () => {
    holdings.mockRejectedValueOnce(new Error('no answer'));
    await check();
    expect(failures).toEqual(['look at what this worker holds: Error: no answer']);
    await check();
    expect(holdings).toHaveBeenCalledTimes(2);
  });
});
