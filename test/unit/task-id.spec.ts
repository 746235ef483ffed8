import { validate, version } from 'uuid';
import { afterEach, expect, it, vi } from 'vitest';
import { newTaskId } from '../../lib/task-id.js';

it('makes UUIDv7s that grow and never repeat, many within one millisecond', () => {
  const ids = Array.from({ length: 20_000 }, newTaskId);
  expect(ids.every((id) => validate(id) && version(id) === 7)).toBe(true);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids).toEqual(ids.toSorted());
});

afterEach(() => {
  vi.useRealTimers();
});

it('carries the time at which it was made', () => {
  const before = Date.now();
  const at = Number.parseInt(newTaskId().replaceAll('-', '').slice(0, 12), 16);
  // Ids made before in the same millisecond may have borrowed from the next.
  expect(at).toBeGreaterThanOrEqual(before);
  expect(at).toBeLessThanOrEqual(Date.now() + 1);
});

// The last: those that are made after it carry the time to which it has set the clock.
it('goes on growing when the clock goes back', () => {
  vi.useFakeTimers();
  const now = Date.now() + 60_000;
  const ids = [now, now - 3_600_000, now - 1, now, now + 1].flatMap((at) => {
    vi.setSystemTime(at);
    return Array.from({ length: 3 }, newTaskId);
  });
  expect(ids).toEqual([...new Set(ids)].toSorted());
});
