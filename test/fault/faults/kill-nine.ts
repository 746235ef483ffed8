import type { Fault } from '../harness/fault.js';

const concurrency = 10;

export const killNine: Fault = {
  name: 'kill-9',
  shows: 'twenty processes are killed at work, and no task with them',
  async run(harness) {
    // Paced by what has run, so that every kill hits a process at work.
    const kills = harness.scaled(20);
    const works = [20, 40, 60].map((ms) => ({ do: 'wait' as const, ms }));
    await harness.begin({ works, overMs: 12_000 }, { concurrency });
    for (let kill = 1; kill <= kills; kill++) {
      await harness.executions((kill * harness.usualTasks * 0.95) / kills);
      const victim = await harness.anyWorker();
      await victim.kill();
      harness.spawn({ concurrency });
      if (kill % 5 === 0) harness.progress(`${kill} kills`);
    }
    harness.expected.duplicates = kills * concurrency;
  },
};
