import { validate, version } from 'uuid';
import { expect, it } from 'vitest';
import { newTaskId } from '../../lib/task-id.js';

it('makes UUIDv7s that grow and never repeat, many within one millisecond', () => {
  const ids = Array.from({ length: 20_000 }, newTaskId);
  expect(ids.every((id) => validate(id) && version(id) === 7)).toBe(true);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids).toEqual(ids.toSorted());
});

it('carries the time at which it was made', () => {
  const before = Date.now();
  const at = Number.parseInt(newTaskId().replaceAll('-', '').slice(0, 12), 16);
  // Ids made before in the same millisecond may have borrowed from the next.
  expect(at).toBeGreaterThanOrEqual(before);
  expect(at).toBeLessThanOrEqual(Date.now() + 1);
});
