import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { SlotReservation } from '../../lib/engine/slot-reservation.js';
import type { Stored } from '../../lib/engine/task.js';
import type { TaskStore } from '../../lib/engine/task-store.js';
import type { WorkerPool } from '../../lib/engine/worker-pool.js';
import { TaskEnqueuer } from '../../lib/task-enqueuer.js';
import { TaskEvents } from '../../lib/task-events.js';
import { deferred, newTask, ticks, TransientError } from './engine.fixtures.js';

type Enqueue = TaskStore['enqueue'];

/** A task that is handed to a worker, whose statement has committed but not been flushed. */
describe('an enqueue that keeps a slot', () => {
  const task = newTask();
  const stored: Stored = { id: task.id, duplicate: false };
  const handed: Stored = { ...stored, handedAt: 7 };
  let enqueue: ReturnType<typeof vi.fn<Enqueue>>;
  let wake: ReturnType<typeof vi.fn<WorkerPool['wake']>>;
  let accept: ReturnType<typeof vi.fn<SlotReservation['accept']>>;
  let early: boolean;
  const [decline, unanswered] = [vi.fn(), vi.fn()];

  beforeEach(() => {
    vi.clearAllMocks();
    enqueue = vi.fn<Enqueue>();
    wake = vi.fn<WorkerPool['wake']>();
    accept = vi.fn<SlotReservation['accept']>();
    early = true;
  });

  const enqueued = () => {
    const store = { enqueue, isTransient: (error: unknown) => error instanceof TransientError };
    const pool = { wake, reserve: () => ({ workerId: 'worker', early, accept, decline, unanswered }) };
    const enqueuer = new TaskEnqueuer(store as unknown as TaskStore, pool as unknown as WorkerPool, new TaskEvents());
    return enqueuer.enqueue(task, undefined);
  };
  /** Commits at once, and is flushed when the test says so. */
  const flushedBy = (flushed: Promise<unknown>) => {
    enqueue.mockImplementationOnce(async (_tasks, _scope, _again, committed) => {
      committed?.(handed);
      await flushed;
      return [handed];
    });
  };

  it('hands its task over as soon as that is committed, and tells of the answer', async () => {
    const flushed = deferred();
    flushedBy(flushed.promise);
    const result = enqueued();
    await ticks();
    expect(accept).toHaveBeenCalledOnce();
    const [claimed, answer] = accept.mock.lastCall!;
    expect(claimed).toMatchObject({ id: task.id, claimSeq: 1, attempt: 1, createdAt: 7 });
    expect(answer).toMatchObject({ stored: undefined, givenAt: Infinity });
    const before = performance.now();
    flushed.resolve();
    expect(await result).toEqual({ id: task.id, duplicate: false });
    await answer!.given;
    expect(answer!.stored).toBe(true);
    expect(answer!.givenAt).toBeGreaterThanOrEqual(before);
    expect(accept).toHaveBeenCalledOnce();
    expect([decline.mock.calls, wake.mock.calls]).toEqual([[], []]);
  });

  it('waits for the answer when its task commits with a transaction of its own', async () => {
    early = false;
    const flushed = deferred();
    flushedBy(flushed.promise);
    const result = enqueued();
    await ticks();
    expect(accept).not.toHaveBeenCalled();
    flushed.resolve();
    await result;
    expect(accept).toHaveBeenCalledOnce();
  });

  it('wakes its queue when the task was forgotten and is stored in its place for anybody', async () => {
    flushedBy(Promise.reject(new TransientError('no answer')));
    enqueue.mockResolvedValueOnce([stored]);
    expect(await enqueued()).toEqual({ id: task.id, duplicate: false });
    expect(enqueue.mock.calls.map(([, , again]) => again)).toEqual([false, true]);
    expect(accept).toHaveBeenCalledOnce();
    expect(unanswered).toHaveBeenCalledOnce();
    expect(wake.mock.calls).toEqual([['default']]);
  });

  it('gives the slot back, and says that the task may be forgotten, when it fails', async () => {
    flushedBy(Promise.reject(new Error('refused')));
    await expect(enqueued()).rejects.toThrow('refused');
    const [, answer] = accept.mock.lastCall!;
    await answer!.given;
    expect(answer!.stored).toBe(false);
    expect(unanswered).toHaveBeenCalled();
    expect(decline).not.toHaveBeenCalled();
    enqueue.mockRejectedValueOnce(new Error('refused'));
    await expect(enqueued()).rejects.toThrow('refused');
    expect(decline).toHaveBeenCalledOnce();
  });
});
