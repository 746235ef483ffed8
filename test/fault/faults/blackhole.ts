import type { Fault } from '../harness/fault.js';

export const blackhole: Fault = {
  name: 'blackhole',
  shows: 'nobody reaches the server for two leases; what was on its way arrives afterwards',
  async run(harness) {
    await harness.begin({ overMs: harness.leaseMs });
    harness.proxy.set({ up: 'stall', down: 'stall' });
    await harness.last(harness.leaseMs * 2);
    harness.proxy.heal();
  },
};

export const blackholeHalf: Fault = {
  name: 'blackhole-half',
  shows: 'two of four processes are cut off for two leases; their late settles cannot undo what the others did',
  async run(harness) {
    const side = await harness.anotherProxy();
    await harness.startWorkers(2, { databaseUrl: harness.urlThrough(side) });
    await harness.startWorkers(2);
    await harness.load({ overMs: harness.leaseMs * 2 });
    await harness.executions(harness.scaled(200));
    side.set({ up: 'stall', down: 'stall' });
    await harness.last(harness.leaseMs * 2);
    side.heal();
  },
};

export const bytesDropped: Fault = {
  name: 'bytes-dropped',
  shows: 'what the server answers vanishes while what it is told arrives, then the other way round',
  async run(harness) {
    await harness.begin({ overMs: harness.leaseMs * 2 });
    for (const flows of [{ down: 'drop' }, { up: 'drop' }] as const) {
      harness.proxy.set(flows);
      await harness.last(harness.leaseMs);
      harness.proxy.heal();
      await harness.last(1_000);
    }
  },
};
