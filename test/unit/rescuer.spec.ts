import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Rescuer } from '../../lib/engine/rescuer.js';
import type { RescuedTask, RescueRequest, TaskStore } from '../../lib/engine/task-store.js';
import { QuarantinedError } from '../../lib/errors/execution.errors.js';
import { deferred, isSettled, Recorder } from './engine.fixtures.js';

const everyMs = 10_000;
const request: RescueRequest = { leaseMs: 30_000, maxCrashes: 3, keepFailedMs: new Map() };

function rescued(fields: Partial<RescuedTask> = {}): RescuedTask {
  return { id: 'id', name: 'work', queue: 'mail', attempt: 1, crashes: 1, quarantined: false, ...fields };
}

describe('a rescuer', () => {
  let rescue: ReturnType<typeof vi.fn<TaskStore['rescue']>>;
  let recorder: Recorder;
  let rescuer: Rescuer;
  const failures: string[] = [];
  const woken: string[] = [];
  let answers = 0;

  beforeEach(() => {
    vi.useFakeTimers();
    failures.length = woken.length = answers = 0;
    rescue = vi.fn<TaskStore['rescue']>(async () => []);
    recorder = new Recorder();
    rescuer = new Rescuer(
      { rescue } as unknown as TaskStore,
      everyMs,
      request,
      recorder,
      (doing, error) => failures.push(`${doing}: ${String(error)}`),
      { answered: () => answers++, rescued: (queue) => woken.push(queue) },
    );
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it('looks at once and then at its jittered pace', async () => {
    rescuer.start();
    expect(rescue).toHaveBeenCalledExactlyOnceWith(request);
    for (let i = 1; i <= 20; i++) {
      await vi.advanceTimersByTimeAsync(0.75 * everyMs - 1);
      expect(rescue).toHaveBeenCalledTimes(i);
      await vi.advanceTimersToNextTimerAsync();
      expect(rescue).toHaveBeenCalledTimes(i + 1);
    }
    expect(performance.now()).toBeLessThanOrEqual(20 * 1.25 * everyMs + performance.timeOrigin);
    await rescuer.stop();
  });

  it('waits for one look before it takes the next', async () => {
    const slow = deferred<RescuedTask[]>();
    rescue.mockReturnValueOnce(slow.promise);
    rescuer.start();
    await vi.advanceTimersByTimeAsync(10 * everyMs);
    expect(rescue).toHaveBeenCalledOnce();
    slow.resolve([]);
    await vi.advanceTimersByTimeAsync(1.25 * everyMs);
    expect(rescue).toHaveBeenCalledTimes(2);
    await rescuer.stop();
  });

  it('tells of what it rescued and wakes the queues that have work again', async () => {
    const [back, dead] = [rescued(), rescued({ id: 'other', queue: 'heavy', crashes: 3, quarantined: true })];
    rescue.mockResolvedValueOnce([back, dead]);
    rescuer.start();
    await vi.advanceTimersByTimeAsync(0);
    expect(recorder.of('rescued')).toEqual([back, dead]);
    expect(woken).toEqual(['mail']);
    expect(recorder.logs).toEqual([
      'warn: Task "work" id was held by a worker whose lease has ended; it goes back to its queue (crash 1).',
    ]);
    const error = expect.any(QuarantinedError) as unknown;
    expect(recorder.of('failed')).toEqual([
      { id: 'other', name: 'work', queue: 'heavy', attempt: 1, durationMs: 0, error },
    ]);
    expect(recorder.of('quarantined')).toEqual([{ id: 'other', name: 'work', queue: 'heavy', attempt: 1, crashes: 3 }]);
    await rescuer.stop();
  });

  it('reports a look that failed and looks again', async () => {
    rescue.mockRejectedValueOnce(new Error('no answer'));
    rescuer.start();
    await vi.advanceTimersByTimeAsync(1.25 * everyMs);
    expect(failures).toEqual(['rescue the tasks of dead workers: Error: no answer']);
    expect(rescue).toHaveBeenCalledTimes(2);
    // Tells of the answer, not of the failure.
    expect(answers).toBe(1);
    await rescuer.stop();
  });

  it('waits for the look under way when it stops, and takes no other', async () => {
    const slow = deferred<RescuedTask[]>();
    rescue.mockReturnValueOnce(slow.promise);
    rescuer.start();
    const stopped = rescuer.stop();
    expect(await isSettled(stopped)).toBe(false);
    slow.resolve([]);
    await stopped;
    await vi.advanceTimersByTimeAsync(10 * everyMs);
    expect(rescue).toHaveBeenCalledOnce();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('can be stopped between two looks', async () => {
    rescuer.start();
    await vi.advanceTimersByTimeAsync(1);
    await rescuer.stop();
    await vi.advanceTimersByTimeAsync(10 * everyMs);
    expect(rescue).toHaveBeenCalledOnce();
  });
});
