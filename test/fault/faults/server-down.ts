import type { Fault } from '../harness/fault.js';

export const tenRestarts: Fault = {
  name: 'ten-restarts',
  shows: 'the server crashes and recovers ten times',
  async run(harness) {
    const restarts = harness.scaled(10);
    await harness.begin({ overMs: 10_000 });
    for (let restart = 1; restart <= restarts; restart++) {
      await harness.last(500);
      await harness.server.restart('immediate');
      if (restart % 5 === 0) harness.progress(`${restart} restarts`);
    }
  },
};

export const serverDown: Fault = {
  name: 'server-down',
  shows: 'the server is away for a minute',
  async run(harness) {
    await harness.begin({ overMs: 4_000 });
    await harness.server.stop();
    await harness.last(harness.scaled(60_000));
    await harness.server.start();
  },
};
