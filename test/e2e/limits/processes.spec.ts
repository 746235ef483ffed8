import { expect, it } from 'vitest';
import { bootApp } from '../../support/app.js';
import { until } from '../../support/tasks.js';
import {
  bookedSchema,
  type LimitedProcess,
  mostAtOnce,
  mostInWindow,
  runsOf,
  startLimited,
  startsOf,
} from '../../fixtures/limited-process.js';
import type { LimitedAppOptions } from '../../fixtures/limited.app.js';

const short = { leaseMs: 3_000, heartbeatMs: 500 };
const keepAll = { retention: 'keepAll' as const };

/** Four worker processes, and an application that only enqueues. */
async function boot(limits: Partial<LimitedAppOptions>) {
  const schema = await bookedSchema();
  const { tasks } = await bootApp([], { schema, workers: false, defaults: keepAll });
  const start = () => startLimited({ schema, concurrency: 10, ...short, ...limits });
  const workers = await Promise.all([start(), start(), start(), start()]);
  return { schema, tasks, workers };
}

/** Kills a process that runs a task. */
async function killOne(schema: string, workers: readonly LimitedProcess[], after: number): Promise<number> {
  for (;;) {
    const runs = await until(
      () => runsOf(schema),
      (seen) => seen.length >= after && seen.some(({ ended }) => ended === Infinity),
    );
    const { id, pid } = runs.findLast(({ ended }) => ended === Infinity)!;
    const worker = workers.find(({ child }) => child.pid === pid)!;
    worker.child.kill('SIGSTOP');
    // It may have gone on between the look and the signal.
    const still = (await runsOf(schema)).some((run) => run.id === id && run.ended === Infinity);
    if (still) {
      await worker.kill();
      return pid;
    }
    worker.child.kill('SIGCONT');
  }
}

it('never runs more at once than globalConcurrency allows, in four processes of which one is killed', async () => {
  const { schema, tasks, workers } = await boot({ globalConcurrency: 3 });
  await tasks.enqueueMany(
    'work',
    Array.from({ length: 120 }, () => ({ ms: 20 })),
    { queue: 'limited' },
  );
  const killed = await killOne(schema, workers, 30);
  await until(
    () => tasks.counts('limited'),
    ({ done }) => done === 120,
  );
  const runs = await runsOf(schema);
  expect(mostAtOnce(runs)).toBe(3);
  expect(new Set(runs.map(({ pid }) => pid)).size).toBeGreaterThan(1);
  expect(runs.some(({ pid }) => pid === killed)).toBe(true);
  expect(runs.length).toBeGreaterThan(120);
});

it('never starts more in any window than rateLimit allows, in four processes of which one is killed', async () => {
  const { schema, tasks, workers } = await boot({ rateLimit: { max: 25, perMs: 500 } });
  await tasks.enqueueMany(
    'work',
    Array.from({ length: 200 }, () => ({ ms: 20 })),
    { queue: 'limited' },
  );
  await killOne(schema, workers, 60);
  await until(
    () => tasks.counts('limited'),
    ({ done }) => done === 200,
  );
  const starts = await startsOf(schema);
  expect(starts.length).toBeGreaterThan(200);
  expect(mostInWindow(starts, 500)).toBe(25);
  // It is a limit, not a brake: all but the rescued tasks came as fast as it allows, give or take.
  expect(starts[199] - starts[0]).toBeLessThan(2 * (200 / 25) * 500);
});

it('never starts more of a key in any window than its task allows, and lets no key wait for another', async () => {
  const perMs = 1_000;
  const { schema, tasks } = await boot({ keyed: { max: 4, perMs } });
  const payload = (key: string) => ({ key, ms: 5 });
  for (const rateKey of ['a', 'b']) {
    const many = Array.from({ length: 16 }, () => payload(rateKey));
    await tasks.enqueueMany('keyed', many, { queue: 'rated', rateKey });
  }
  const { id } = await tasks.enqueue('keyed', payload('c'), { queue: 'rated', rateKey: 'c' });
  // On another queue than its own it takes from the same bucket.
  await tasks.enqueue('keyed', payload('a'), { queue: 'default', rateKey: 'a' });
  await until(
    () => tasks.counts(),
    ({ done }) => done === 34,
  );
  for (const key of ['a', 'b']) expect(mostInWindow(await startsOf(schema, key), perMs)).toBe(4);
  const all = await startsOf(schema);
  const [alone] = await startsOf(schema, 'c');
  expect(alone - all[0]).toBeLessThan(perMs);
  expect((await runsOf(schema)).filter((run) => run.id === id)).toHaveLength(1);
  expect(all.at(-1)! - all[0]).toBeLessThan(2 * 4 * perMs);
});
