import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ControlStore } from '../../lib/engine/control-store.js';
import { Controller } from '../../lib/engine/controller.js';
import { type Control, noControl } from '../../lib/engine/limits.js';

describe('when no hint arrives, a controller looks', () => {
  let read: ReturnType<typeof vi.fn<ControlStore['read']>>;
  let controller: Controller;
  let live: boolean;
  let running: number;

  beforeEach(() => {
    vi.useFakeTimers();
    live = true;
    running = 0;
    read = vi.fn<ControlStore['read']>(async () => noControl);
    controller = new Controller(
      { read } as unknown as ControlStore,
      () => live,
      () => running,
      () => {},
      (_, error) => {
        throw error;
      },
    );
    controller.start();
  });

  afterEach(() => {
    controller.stop();
    vi.useRealTimers();
  });

  /** How many looks it makes in 20 seconds. */
  const looksIn20s = async () => {
    await vi.advanceTimersByTimeAsync(6_000);
    read.mockClear();
    await vi.advanceTimersByTimeAsync(20_000);
    return read.mock.calls.length;
  };
  const paused: [string, Partial<Control>][] = [
    ['a queue', { queues: new Map([['a', { paused: true, limited: false, concurrency: null }]]) }],
    ['a task', { pausedTasks: new Set(['a']) }],
  ];

  it('seldom while it is idle and would be told', async () => {
    expect(await looksIn20s()).toBeLessThanOrEqual(4);
  });

  it('each second while it would not be told', async () => {
    live = false;
    expect(await looksIn20s()).toBeGreaterThanOrEqual(20);
  });

  it('each second while a task runs', async () => {
    running = 1;
    expect(await looksIn20s()).toBeGreaterThanOrEqual(20);
  });

  it('each second while tasks start, though none runs just then', async () => {
    const starts = setInterval(() => controller.starting(), 300);
    expect(await looksIn20s()).toBeGreaterThanOrEqual(20);
    clearInterval(starts);
    expect(await looksIn20s()).toBeLessThanOrEqual(4);
  });

  it.each(paused)('each second while %s is paused', async (_, control) => {
    read.mockResolvedValue({ ...noControl, ...control });
    expect(await looksIn20s()).toBeGreaterThanOrEqual(20);
    read.mockResolvedValue(noControl);
    expect(await looksIn20s()).toBeLessThanOrEqual(4);
  });
});
