import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { AttemptRecorder } from '../../lib/engine/attempt-recorder.js';
import { claimKey } from '../../lib/engine/claim.js';
import { type HeldTask, heldTask } from '../../lib/engine/held-task.js';
import type { Lease } from '../../lib/engine/lease.js';
import { PrefetchBuffer } from '../../lib/engine/prefetch-buffer.js';
import { claimedTask } from './engine.fixtures.js';

const lease = { workerId: 'worker-1' } as Lease;
const otherLease = { workerId: 'worker-2' } as Lease;

/** Ten tasks of which three have started, as no other number here divides evenly. */
function setUp() {
  const released: string[] = [];
  const stalled = vi.fn();
  const recorder = { release: ({ task }: HeldTask) => released.push(task.id) } as unknown as AttemptRecorder;
  const buffer = new PrefetchBuffer(recorder, stalled);
  const held = Array.from({ length: 10 }, (_, i) =>
    heldTask(claimedTask({ id: `${i}` }), i === 8 ? otherLease : lease, performance.now(), performance.now()),
  );
  buffer.add(held);
  buffer.removeFirst(3);
  const ids = () => Array.from({ length: buffer.size }, (_, place) => buffer.at(place)!.task.id).join('');
  return { buffer, held, released, stalled, ids };
}

describe('what was claimed ahead, when some of it has started', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it('is what is left, in its order', () => {
    const { buffer, ids } = setUp();
    expect([buffer.size, ids(), buffer.at(7)]).toEqual([7, '3456789', undefined]);
    buffer.removeFirst(4);
    expect(ids()).toBe('789');
    buffer.removeFirst(3);
    expect([buffer.size, buffer.at(0)]).toEqual([0, undefined]);
  });

  it('takes more behind and before it', () => {
    const { buffer, held, ids } = setUp();
    buffer.add([held[0]!]);
    buffer.addFirst(held[1]!);
    expect(ids()).toBe('134567890');
  });

  it('holds nothing of what has started', () => {
    const { buffer, held } = setUp();
    expect(held.map(({ task }) => buffer.holds(task.id))).toEqual(held.map((_, i) => i >= 3));
    const claims = new Set<string>();
    setUp().buffer.collectClaims(claims);
    expect(claims).toEqual(new Set(held.slice(3).map(({ task }) => claimKey(task))));
  });

  it.each<[string, (buffer: PrefetchBuffer, held: HeldTask[]) => void, string, string]>([
    ['all', (buffer) => buffer.giveBack(), '3456789', ''],
    ['the last ones', (buffer) => buffer.giveBackLast(2), '89', '34567'],
    ['none of the last ones', (buffer) => buffer.giveBackLast(0), '', '3456789'],
    ['no more than there are', (buffer) => buffer.giveBackLast(100), '3456789', ''],
    ['one claim', (buffer, held) => buffer.giveBackClaim(held[5]!.task), '5', '346789'],
    ['no claim that has started', (buffer, held) => buffer.giveBackClaim(held[1]!.task), '', '3456789'],
  ])('gives back %s', (_, giveBack, back, left) => {
    const { buffer, held, released, ids } = setUp();
    giveBack(buffer, held);
    expect([released.join(''), ids()]).toEqual([back, left]);
  });

  it('forgets what a lease covered', () => {
    const { buffer, released, ids } = setUp();
    expect(buffer.forget(lease).map(({ task }) => task.id)).toEqual(['3', '4', '5', '6', '7', '9']);
    expect([released, ids()]).toEqual([[], '8']);
  });

  it('goes back when the first has waited for 200 ms, whoever has started meanwhile', async () => {
    const { buffer, released, stalled } = setUp();
    buffer.watchFirst();
    await vi.advanceTimersByTimeAsync(150);
    buffer.removeFirst(2);
    buffer.watchFirst();
    await vi.advanceTimersByTimeAsync(49);
    expect(released).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(released.join('')).toBe('56789');
    expect(stalled).toHaveBeenCalledExactlyOnceWith(200);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('stays when those that have waited have started, and others have come', async () => {
    const { buffer, held, released } = setUp();
    buffer.watchFirst();
    await vi.advanceTimersByTimeAsync(150);
    buffer.removeFirst(7);
    buffer.add([{ ...held[0]!, since: performance.now() }]);
    await vi.advanceTimersByTimeAsync(199);
    expect(released).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(released).toEqual(['0']);
  });
});
