import type { Work } from '../harness/app.protocol.js';
import type { Fault } from '../harness/fault.js';

export const blockedLoop: Fault = {
  name: 'blocked-loop',
  shows: 'a handler that blocks the event loop for longer than the lease loses neither its task nor its neighbours',
  async run(harness) {
    const blocks: Work[] = Array.from({ length: 4 }, () => ({ do: 'block', ms: harness.leaseMs * 1.5 }));
    await harness.startWorkers();
    const producer = await harness.load({ tasks: 4, works: blocks, overMs: 1_000 });
    await harness.loaded;
    await harness.load({ overMs: harness.leaseMs }, producer);
    await harness.loaded;
    await harness.last(harness.leaseMs);
    harness.expect(harness.leasesLost === 0, `${harness.leasesLost} leases were lost by blocked processes.`);
    harness.expected.duplicates = 0;
  },
};
