import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Pruner } from '../../lib/engine/pruner.js';
import type { TaskStore } from '../../lib/engine/task-store.js';
import type { PruneReport } from '../../lib/engine/upkeep.js';
import { deferred, isSettled, Recorder, ticks } from './engine.fixtures.js';

const everyMs = 600_000;
const request = { holder: 'holder', keepMs: [5_000], staleMs: 300_000 };
const nothing: PruneReport = { dropped: [], deleted: 0, unfinished: false };

describe('a pruner', () => {
  let prune: ReturnType<typeof vi.fn<TaskStore['prune']>>;
  let recorder: Recorder;
  let pruner: Pruner;
  const failures: string[] = [];

  beforeEach(() => {
    vi.useFakeTimers();
    failures.length = 0;
    prune = vi.fn<TaskStore['prune']>(async () => nothing);
    recorder = new Recorder();
    const store = { prune } as unknown as TaskStore;
    pruner = new Pruner(store, everyMs, request, recorder, (doing, error) =>
      failures.push(`${doing}: ${String(error)}`),
    );
  });

  afterEach(async () => {
    await pruner.stop();
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
  });

  it('looks at once and then at its jittered pace', async () => {
    await pruner.start();
    expect(prune).toHaveBeenCalledExactlyOnceWith({ ...request, signal: expect.any(AbortSignal) as AbortSignal });
    for (let i = 1; i <= 20; i++) {
      await vi.advanceTimersByTimeAsync(0.75 * everyMs - 1);
      expect(prune).toHaveBeenCalledTimes(i);
      const before = Date.now();
      await vi.advanceTimersToNextTimerAsync();
      expect(prune).toHaveBeenCalledTimes(i + 1);
      expect(Date.now() - before).toBeLessThanOrEqual(0.5 * everyMs + 1);
    }
  });

  it.each([
    ['something was left to do', () => prune.mockResolvedValueOnce({ ...nothing, unfinished: true })],
    ['the store did not answer', () => prune.mockRejectedValueOnce(new Error('no answer'))],
  ])('looks again soon when %s, and then at its pace', async (_, trouble) => {
    trouble();
    await pruner.start();
    await vi.advanceTimersByTimeAsync(0.125 * everyMs);
    expect(prune).toHaveBeenCalledTimes(2);
    await vi.advanceTimersByTimeAsync(0.7 * everyMs);
    expect(prune).toHaveBeenCalledTimes(2);
  });

  it('reports a look that failed', async () => {
    prune.mockRejectedValueOnce(new Error('no answer'));
    await pruner.start();
    expect(failures).toEqual(['remove finished tasks whose time is over: Error: no answer']);
  });

  it('logs what it removed, and nothing when there was nothing', async () => {
    await pruner.start();
    expect(recorder.logs).toEqual([]);
    prune.mockResolvedValueOnce({ ...nothing, dropped: ['finished_task_20261122'], deleted: 3 });
    await vi.advanceTimersByTimeAsync(1.25 * everyMs);
    expect(recorder.logs).toEqual([
      'log: Removed what was kept long enough: dropped finished_task_20261122, deleted 3 rows.',
    ]);
  });

  it('warns once that it does less than it should', async () => {
    prune.mockResolvedValue({ ...nothing, weakened: 'no rights' });
    await pruner.start();
    await vi.advanceTimersByTimeAsync(10 * everyMs);
    expect(prune.mock.calls.length).toBeGreaterThan(5);
    expect(recorder.logs).toEqual(['warn: no rights']);
  });

  it('tells the look under way when it stops, waits for it, and takes no other', async () => {
    const slow = deferred<PruneReport>();
    prune.mockReturnValueOnce(slow.promise);
    void pruner.start();
    const stopped = pruner.stop();
    expect(prune.mock.calls[0][0].signal.aborted).toBe(true);
    expect(await isSettled(stopped)).toBe(false);
    slow.resolve(nothing);
    await stopped;
    await ticks();
    await vi.advanceTimersByTimeAsync(10 * everyMs);
    expect(prune).toHaveBeenCalledOnce();
  });
});
