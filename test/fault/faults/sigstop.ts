import type { Fault } from '../harness/fault.js';

export const sigstop: Fault = {
  name: 'sigstop',
  shows: 'a process that was stopped past its lease wakes up and cannot overwrite what others have done meanwhile',
  async run(harness) {
    // Some of its handlers ignore their signal, so that they end after it has woken up.
    const works = [5, 200, 20, 400].map((ms) => ({ do: 'ignoreSignal' as const, ms }));
    const [stopped] = await harness.begin({ overMs: harness.leaseMs, works }, { concurrency: 40 });
    const before = await harness.ledger.count();
    await harness.executions(before + harness.scaled(200));
    process.kill(stopped.pid, 'SIGSTOP');
    try {
      await harness.last(harness.leaseMs * 2.5);
    } finally {
      process.kill(stopped.pid, 'SIGCONT');
    }
    harness.expected.duplicates = 40;
  },
};
