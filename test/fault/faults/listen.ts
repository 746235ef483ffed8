import type { Fault } from '../harness/fault.js';
import type { Harness } from '../harness/harness.js';
import { until } from '../harness/polling.js';

/** All processes hear again on a connection that was made after the fault began. */
async function listening(harness: Harness, deaf: ReadonlySet<unknown>): Promise<void> {
  await until(
    'LISTEN on new connections',
    () => [...harness.proxy.links].filter((link) => link.listens && !deaf.has(link)).length,
    (count) => count === 4,
    25_000,
  );
}

function ears(harness: Harness) {
  return [...harness.proxy.links].filter(({ listens }) => listens);
}

export const listenTerminated: Fault = {
  name: 'listen-terminated',
  shows: 'the sessions that LISTEN are terminated; work goes on by polling, and hints come back',
  async run(harness) {
    await harness.begin({ overMs: 6_000 });
    for (let round = 0; round < 3; round++) {
      const deaf = ears(harness);
      const ports = deaf.map(({ port }) => port);
      const ended = await harness.terminateBackends('client_port = ANY($1::int[])', [ports]);
      harness.expect(ended > 0, 'There was no session that listens.');
      await listening(harness, new Set(deaf));
    }
  },
};

export const listenBlackholed: Fault = {
  name: 'listen-blackholed',
  shows: 'the connections that LISTEN fall silent without an end; work goes on, and the silence is noticed',
  async run(harness) {
    await harness.begin({ overMs: 6_000 });
    const deaf = new Set(ears(harness));
    harness.expect(deaf.size === 4, `${deaf.size} of 4 processes listen.`);
    harness.proxy.set({ up: 'stall', down: 'stall' }, (link) => deaf.has(link));
    await listening(harness, deaf);
    harness.proxy.heal();
    harness.expected.duplicates = 0;
  },
};
