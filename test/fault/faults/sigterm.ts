import type { AppProcess } from '../harness/app.process.js';
import type { Fault } from '../harness/fault.js';
import type { Harness } from '../harness/harness.js';

/** Sends SIGTERM and checks how long the process takes to end. */
async function terminate(harness: Harness, app: AppProcess, atMostMs: number): Promise<void> {
  const orderedAt = performance.now();
  app.signal('SIGTERM');
  const guard = setTimeout(() => {
    harness.expect(false, `${app.settings.name} was not gone after ${atMostMs} ms.`);
    app.signal('SIGKILL');
  }, atMostMs);
  await app.exited;
  clearTimeout(guard);
  harness.progress(`${app.settings.name} took ${Math.round(performance.now() - orderedAt)} ms to end`);
}

export const sigtermBootstrapping: Fault = {
  name: 'sigterm-bootstrapping',
  shows: 'processes that are still starting are told to end',
  async run(harness) {
    await harness.begin();
    for (const afterMs of [100, 300, 500, 700, 900, 1_200]) {
      const app = harness.spawn({ bootMs: 300 });
      await harness.last(afterMs);
      await terminate(harness, app, 8_000);
    }
  },
};

export const sigtermClaiming: Fault = {
  name: 'sigterm-claiming',
  shows: 'a rolling restart in the middle of the load: every task runs once',
  async run(harness) {
    await harness.begin({ overMs: 8_000 });
    for (let round = 0; round < harness.scaled(6); round++) {
      const leaving = await harness.anyWorker();
      await Promise.all([terminate(harness, leaving, 8_000), harness.spawn().ready]);
    }
    harness.expected.duplicates = 0;
  },
};

/** Handlers that ignore their signal and outlast every grace, beside the usual load. */
async function stubborn(harness: Harness, shutdownGraceMs: number): Promise<AppProcess> {
  const [app] = await harness.startWorkers(1, { shutdownGraceMs });
  const producer = await harness.load({ tasks: 10, works: [{ do: 'ignoreSignal', ms: 9_000 }], overMs: 0 });
  await harness.loaded;
  await harness.executions(10);
  await harness.startWorkers(3);
  await harness.load({}, producer);
  return app;
}

/** What was given back has used up no attempt and no retry. */
async function expectUnused(harness: Harness): Promise<void> {
  await harness.loaded;
  const [{ count }] = await harness.sql<{ count: string }>(
    `SELECT (SELECT count(*) FROM backie.task WHERE attempt > 1 OR retries > 0 OR crashes > 0)
      + (SELECT count(*) FROM backie.finished_task WHERE attempt > 1 OR retries > 0 OR crashes > 0) AS count`,
  );
  harness.expect(count === '0', `${count} tasks have used up an attempt or a retry by a shutdown.`);
}

export const sigtermRunning: Fault = {
  name: 'sigterm-running',
  shows: 'handlers that ignore their signal are given back after the grace, and the process ends in time',
  async run(harness) {
    const app = await stubborn(harness, 2_000);
    await terminate(harness, app, 2_000 + 5_000);
    await expectUnused(harness);
    harness.expected.duplicates = 10;
  },
};

export const sigtermTwice: Fault = {
  name: 'sigterm-twice',
  shows: 'a second SIGTERM ends a long grace at once',
  async run(harness) {
    const app = await stubborn(harness, 30_000);
    const second = harness.last(500).then(() => app.signal('SIGTERM'));
    await terminate(harness, app, 500 + 5_000);
    await second;
    await expectUnused(harness);
    harness.expected.duplicates = 10;
  },
};

export const enqueueWhileDraining: Fault = {
  name: 'enqueue-while-draining',
  shows: 'a process whose pool drains enqueues until the end',
  async run(harness) {
    const [draining] = await harness.startWorkers();
    await harness.load();
    await harness.executions(100);
    await harness.load({ tasks: 40, works: [{ do: 'ignoreSignal', ms: 2_000 }], overMs: 0 });
    await harness.loaded;
    await draining.enqueueWhileDraining();
    harness.expect(draining.acknowledged.length === 200, `${draining.acknowledged.length} of 200 were enqueued.`);
    harness.expected.duplicates = 10;
  },
};

export const twoBootstraps: Fault = {
  name: 'two-bootstraps',
  shows: 'two Nest applications in each process, and processes of theirs are told to end',
  async run(harness) {
    await harness.begin({}, { apps: 2 });
    await terminate(harness, await harness.anyWorker(), 8_000);
    harness.expected.duplicates = 0;
  },
};
