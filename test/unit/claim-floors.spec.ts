import { describe, expect, it } from 'vitest';
import type { ClaimedTask } from '../../lib/engine/task.js';
import { ClaimFloors } from '../../lib/typeorm/claim-floors.js';

describe('ClaimFloors', () => {
  const last = { id: 'a', priority: 0, scheduledAt: 1 } as ClaimedTask;
  const names = ['work'];

  function afterLookOf(tookMs: number) {
    const clock = { now: 0 };
    const floors = new ClaimFloors(() => clock.now);
    floors.passed('q', names, last, null, tookMs);
    return { clock, floors };
  }

  it('has no floor while looks from the beginning are quick', () => {
    expect(afterLookOf(1).floors.of('q', names)).toBeNull();
  });

  it('begins at the floor after a slow look, and looks below again in twenty times as long', () => {
    const { clock, floors } = afterLookOf(100);
    clock.now = 1_999;
    expect(floors.of('q', names)).toEqual({ id: 'a', priority: 0, scheduledAt: 1_000 });
    clock.now = 2_000;
    expect(floors.of('q', names)).toBeNull();
  });

  it('moves on with each full claim from the floor, but not the time of the next look', () => {
    const { clock, floors } = afterLookOf(100);
    const floor = floors.of('q', names);
    clock.now = 1_000;
    floors.passed('q', names, { ...last, id: 'b' }, floor, 1);
    expect(floors.of('q', names)).toMatchObject({ id: 'b' });
    clock.now = 2_000;
    expect(floors.of('q', names)).toBeNull();
  });

  it('never looks away for long, even if a look was held up by a locked table', () => {
    const { clock, floors } = afterLookOf(20_000);
    clock.now = 5_000;
    expect(floors.of('q', names)).toBeNull();
  });

  it('forgets the floor when a claim comes back short, and when tasks are given back', () => {
    const short = afterLookOf(100).floors;
    short.passed('q', names, undefined, short.of('q', names), 1);
    expect(short.of('q', names)).toBeNull();
    const reset = afterLookOf(100).floors;
    reset.reset();
    expect(reset.of('q', names)).toBeNull();
  });

  it('knows a floor for the names that were claimed, and for no others', () => {
    const { floors } = afterLookOf(100);
    expect(floors.of('q', ['work', 'other'])).toBeNull();
    expect(floors.of('other', names)).toBeNull();
  });
});
