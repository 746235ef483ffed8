import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Expirer } from '../../lib/engine/expirer.js';
import type { ExpireRequest, Expiry, TaskStore } from '../../lib/engine/task-store.js';
import { deferred, isSettled, Recorder } from './engine.fixtures.js';

const everyMs = 10_000;
const request: ExpireRequest = { keepCancelledMs: new Map() };
const nothing: Expiry = { expired: [], nextInMs: null };

describe('an expirer', () => {
  let expire: ReturnType<typeof vi.fn<TaskStore['expire']>>;
  let recorder: Recorder;
  let expirer: Expirer;
  const failures: string[] = [];

  beforeEach(() => {
    vi.useFakeTimers();
    failures.length = 0;
    expire = vi.fn<TaskStore['expire']>(async () => nothing);
    recorder = new Recorder();
    const store = { expire } as unknown as TaskStore;
    expirer = new Expirer(store, everyMs, request, recorder, (doing, error) =>
      failures.push(`${doing}: ${String(error)}`),
    );
  });

  afterEach(async () => {
    await expirer.stop();
    vi.useRealTimers();
  });

  /** Starts it, and lets it look for the first time. */
  async function start(): Promise<void> {
    expirer.start();
    await vi.advanceTimersToNextTimerAsync();
  }

  it('looks soon, but not while its process starts', async () => {
    expirer.start();
    await vi.advanceTimersByTimeAsync(749);
    expect(expire).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(501);
    expect(expire).toHaveBeenCalledOnce();
  });

  it('looks at its jittered pace', async () => {
    await start();
    expect(expire).toHaveBeenCalledExactlyOnceWith(request);
    for (let i = 1; i <= 20; i++) {
      await vi.advanceTimersByTimeAsync(0.75 * everyMs - 1);
      expect(expire).toHaveBeenCalledTimes(i);
      await vi.advanceTimersToNextTimerAsync();
      expect(expire).toHaveBeenCalledTimes(i + 1);
    }
  });

  it('looks when the next task expires that it knows of, but not for each of a crowd', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.5);
    expire.mockResolvedValueOnce({ expired: [], nextInMs: 1_000 }).mockResolvedValueOnce({ expired: [], nextInMs: 1 });
    await start();
    await vi.advanceTimersByTimeAsync(999);
    expect(expire).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(101);
    expect(expire).toHaveBeenCalledTimes(2);
    await vi.advanceTimersByTimeAsync(9);
    expect(expire).toHaveBeenCalledTimes(2);
    await vi.advanceTimersByTimeAsync(110);
    expect(expire).toHaveBeenCalledTimes(3);
  });

  it('tells of each task that it has ended, and why', async () => {
    const task = { id: 'id', name: 'work', queue: 'mail' };
    expire.mockResolvedValueOnce({ expired: [task], nextInMs: null });
    await start();
    expect(recorder.of('cancelled')).toEqual([{ ...task, reason: 'expired' }]);
  });

  it('reports a failure and goes on', async () => {
    expire.mockRejectedValueOnce(new Error('away'));
    await start();
    await vi.advanceTimersByTimeAsync(1.25 * everyMs);
    expect(failures).toEqual(['end the tasks that have expired: Error: away']);
    expect(expire).toHaveBeenCalledTimes(2);
  });

  it('stops when its look is over, and looks no more', async () => {
    const slow = deferred<Expiry>();
    expire.mockReturnValueOnce(slow.promise);
    await start();
    const stopped = expirer.stop();
    expect(await isSettled(stopped)).toBe(false);
    slow.resolve(nothing);
    await stopped;
    await vi.advanceTimersByTimeAsync(10 * everyMs);
    expect(expire).toHaveBeenCalledOnce();
  });
});
