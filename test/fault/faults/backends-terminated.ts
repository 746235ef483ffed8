import type { Fault } from '../harness/fault.js';

export const backendsTerminated: Fault = {
  name: 'backends-terminated',
  shows: 'every session is terminated every three seconds',
  async run(harness) {
    const rounds = harness.scaled(4);
    await harness.begin({ overMs: 4 * 3_000 });
    for (let round = 1; round <= rounds; round++) {
      await harness.last(3_000);
      harness.progress(`${await harness.terminateBackends()} sessions terminated`);
    }
  },
};
