import { afterEach, describe, expect, it, vi } from 'vitest';
import { BackieOrchestrator } from '../../lib/backie.orchestrator.js';
import { deferred } from './engine.fixtures.js';

/** Nobody else listens for it in a test. */
const signal = 'SIGUSR2';

describe('a shutdown by a signal', () => {
  afterEach(() => {
    process.removeAllListeners(signal);
  });

  /** An application in the middle of its drain, and one that stands beside it in the process. */
  function draining() {
    const drained = deferred();
    const drain = vi.fn((_options?: { graceMs?: number }) => drained.promise);
    const neighbour = () => {};
    process.on(signal, () => {});
    process.on(signal, neighbour);
    const unused = undefined as never;
    const orchestrator = new BackieOrchestrator({ drain } as never, unused, unused, unused, true, unused);
    const over = orchestrator.beforeApplicationShutdown(signal);
    return { drain, drained, over, neighbour };
  }

  it('ends its grace when the signal comes again, and listens no longer than it drains', async () => {
    const { drain, drained, over } = draining();
    expect(drain.mock.calls).toEqual([[]]);
    process.emit(signal);
    expect(drain.mock.calls).toEqual([[], [{ graceMs: 0 }]]);
    drained.resolve();
    await over;
    expect(process.listenerCount(signal)).toBe(2);
  });

  it('keeps its grace when another application of the process ends, which sends the signal again', async () => {
    const { drain, drained, over, neighbour } = draining();
    process.off(signal, neighbour);
    process.emit(signal);
    expect(drain.mock.calls).toEqual([[]]);
    process.emit(signal);
    expect(drain.mock.calls).toEqual([[], [{ graceMs: 0 }]]);
    drained.resolve();
    await over;
  });
});
