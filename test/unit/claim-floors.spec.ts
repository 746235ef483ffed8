import { describe, expect, it } from 'vitest';
import type { ClaimedTask } from '../../lib/engine/task.js';
import { ClaimFloors } from '../../lib/typeorm/claim-floors.js';

describe('ClaimFloors', () => {
  const last = { id: 'a', priority: 0, scheduledAt: 1 } as ClaimedTask;

  function afterLookOf(tookMs: number) {
    const clock = { now: 0 };
    const floors = new ClaimFloors(() => clock.now);
    floors.passed('q', last, null, tookMs);
    return { clock, floors };
  }

  it('begins at the floor for a second after a quick look from the beginning', () => {
    const { clock, floors } = afterLookOf(1);
    clock.now = 999;
    expect(floors.of('q')).toMatchObject({ id: 'a' });
    clock.now = 1_000;
    expect(floors.of('q')).toBeNull();
  });

  it('looks from the beginning less often while that is slow', () => {
    const { clock, floors } = afterLookOf(100);
    clock.now = 1_999;
    expect(floors.of('q')).not.toBeNull();
    clock.now = 2_000;
    expect(floors.of('q')).toBeNull();
  });

  it('never looks away for long, even if a look was held up by a locked table', () => {
    const { clock, floors } = afterLookOf(20_000);
    clock.now = 5_000;
    expect(floors.of('q')).toBeNull();
  });
});
