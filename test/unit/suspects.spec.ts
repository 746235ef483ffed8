import { beforeEach, describe, expect, it, vi } from 'vitest';
import { Suspects } from '../../lib/engine/suspects.js';
import { claimedTask } from './engine.fixtures.js';

const takeOne = { crashes: 2, takeOne: true };
const takeNone = { crashes: 2, takeOne: false };

describe('suspects', () => {
  const released = vi.fn();
  const suspect = claimedTask({ crashes: 2 });
  const other = claimedTask({ crashes: 1 });
  let suspects: Suspects;

  beforeEach(() => {
    released.mockClear();
    suspects = new Suspects(2, released);
  });

  it('are asked for one at a time', () => {
    expect(suspects.ask()).toEqual(takeOne);
    // A claim under way may bring one.
    expect(suspects.ask()).toEqual(takeNone);
    suspects.claimed(takeOne, [suspect, other]);
    expect(suspects.ask()).toEqual(takeNone);
  });

  it.each([
    ['brought none', [other]],
    ['brought nothing or failed', []],
  ])('are asked for again when the claim %s', (_, claimed) => {
    suspects.claimed(suspects.ask(), claimed);
    expect(suspects.ask()).toEqual(takeOne);
  });

  it('are not forgotten because of a claim that asked for none', () => {
    suspects.claimed(suspects.ask(), [suspect]);
    suspects.claimed(suspects.ask(), [other]);
    suspects.claimed(suspects.takeNone, []);
    expect(suspects.ask()).toEqual(takeNone);
  });

  it('are not given up for a claim under way when one that asked for none comes back', () => {
    suspects.ask();
    suspects.claimed(suspects.takeNone, []);
    expect(suspects.ask()).toEqual(takeNone);
  });

  it('are asked for again, and that is told once, when the one held is released', () => {
    suspects.claimed(suspects.ask(), [other, suspect]);
    suspects.release(other);
    expect(released).not.toHaveBeenCalled();
    expect(suspects.ask()).toEqual(takeNone);
    suspects.release(suspect);
    suspects.release(suspect);
    expect(released).toHaveBeenCalledOnce();
    expect(suspects.ask()).toEqual(takeOne);
  });

  it('may be asked for by whoever is told of the release', () => {
    suspects.claimed(suspects.ask(), [suspect]);
    released.mockImplementationOnce(() => expect(suspects.ask()).toEqual(takeOne));
    suspects.release(suspect);
    expect(released).toHaveBeenCalledOnce();
  });

  it('do not exist when each crash is one too many: nothing would be left to claim', () => {
    suspects = new Suspects(0, released);
    expect(suspects.ask()).toBeUndefined();
    expect(suspects.takeNone).toBeUndefined();
  });
});
