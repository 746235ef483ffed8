import { LeaseLostError } from 'nestjs-backie';
import { expect, it } from 'vitest';
import { startProxy } from '../../fixtures/proxy.js';
import { startWorker } from '../../fixtures/worker-process.js';
import { bootApp, freshSchema, next, sql } from '../../support/app.js';
import { abortReason, deferred, forever, found, taskOf, until } from '../../support/tasks.js';

/** Not so short that a busy machine ends the lease of a process that lives. */
const short = { leaseMs: 3_000, heartbeatMs: 200 };
const keepAll = { retention: 'keepAll' as const };
const hours = 3_600_000;

it('aborts what it runs before its lease ends in the database, when no renewal gets through', async () => {
  const proxy = await startProxy();
  const aborted = deferred<{ reason: unknown; at: number }>();
  const Work = taskOf('work', async (_payload, { signal }) => {
    aborted.resolve({ reason: await abortReason(signal), at: performance.now() });
    return forever();
  });
  const { tasks, events, schema } = await bootApp([Work], {
    connection: proxy.url,
    leaseMs: 8_000,
    heartbeatMs: 100,
    shutdownGraceMs: 0,
  });
  const started = next(events, 'started');
  const lost = next(events, 'lost');
  const { id } = await tasks.enqueue(Work);
  await started;
  // A renewal or two get through.
  const leaseUntil = () => sql<{ until: number }>(`SELECT ${epochMs('lease_until')} AS until FROM "${schema}".worker`);
  const [first] = await leaseUntil();
  await until(leaseUntil, ([row]) => row.until > first.until);
  proxy.mode = 'silent';
  proxy.freeze();

  const { reason, at } = await aborted.promise;
  expect(reason).toBeInstanceOf(LeaseLostError);
  expect(await lost).toMatchObject([{ id, attempt: 1 }]);
  // The database's time when the signal aborted, or a little later, as it answers a little later than it was asked.
  const askedAt = performance.now();
  const [row] = await sql<{ until: number; now: number }>(
    `SELECT ${epochMs('lease_until')} AS until, ${epochMs('clock_timestamp()')} AS now FROM "${schema}".worker`,
  );
  const left = row.until - (row.now - (askedAt - at));
  expect(left).toBeGreaterThan(50);
  expect(left).toBeLessThan(2_000);
  expect(await sql(`SELECT worker_id IS NOT NULL AS held FROM "${schema}".task`)).toEqual([{ held: true }]);
  proxy.mode = 'forward';
  proxy.cut();
}, 60_000);

it.each([
  ['three hours fast', `${3 * hours}`],
  ['three hours slow', `${-3 * hours}`],
  ['jumping about by hours at each look', `(Math.random() - 0.5) * ${6 * hours}`],
])("works by the database's clock when that of its process is %s", async (_, offMs) => {
  const schema = freshSchema();
  const gate = deferred();
  const Waiting = taskOf('waiting', () => gate.promise);
  const here = await bootApp([Waiting], { schema, ...short, defaults: keepAll });
  const { tasks, events } = here;
  const rescued: unknown[] = [];
  events.rescued.subscribe((event) => rescued.push(event));
  const there = await startWorker({ schema, ...short, defaults: { ...keepAll, pollIntervalMs: 50 } }, offMs);
  for (const kind of ['rescued', 'lost'] as const) there.messages(kind).subscribe((event) => rescued.push(event));
  // Each holds a task for longer than its lease, while the other one looks for dead workers.
  const starts = Promise.all([next(events, 'started'), there.next('started')]);
  const mine = await tasks.enqueue(Waiting);
  const its = await tasks.enqueue('hanging');
  await starts;
  const { workerId } = await found(tasks, its.id);
  const times = `SELECT bool_and(now() > started_at + interval '3.5 s') AS late FROM "${schema}".task`;
  await until(
    () => sql<{ late: boolean }>(times),
    ([{ late }]) => late,
  );
  const expected = { state: 'running', attempt: 1, crashes: 0 };
  expect(await found(tasks, mine.id)).toMatchObject(expected);
  expect(await found(tasks, its.id)).toMatchObject({ ...expected, workerId });
  const finished = there.next('done');
  gate.resolve();
  there.finish();
  expect(await finished).toMatchObject([{ id: its.id }]);

  // What is due later, there and from there, is due by the database's clock.
  const lasts = there.next('done', 3);
  const ids = await Promise.all([
    tasks.enqueue('quick', null, { delayMs: 1_500 }).then(({ id }) => id),
    there.enqueue('quick', null, { delayMs: 1_500 }),
    tasks.enqueue('failing').then(({ id }) => id),
  ]);
  await lasts;
  const waits = await sql<{ name: string; since: number; delay: number; waited: number }>(
    `SELECT name, ${epochMs('now() - created_at')} AS since, ${epochMs('scheduled_at - created_at')} AS delay,
       ${epochMs('started_at - scheduled_at')} AS waited
     FROM "${schema}".finished_task WHERE id = ANY($1) ORDER BY name`,
    [ids],
  );
  expect(waits.map(({ name }) => name)).toEqual(['failing', 'quick', 'quick']);
  for (const { name, since, delay, waited } of waits) {
    expect(since).toBeLessThan(30_000);
    expect(delay).toBeGreaterThanOrEqual(name === 'quick' ? 1_500 : 1_000);
    expect(delay).toBeLessThan(name === 'quick' ? 1_501 : 10_000);
    expect(waited).toBeGreaterThanOrEqual(0);
    expect(waited).toBeLessThan(10_000);
  }
  expect(rescued).toEqual([]);
  await there.close();
});

function epochMs(column: string): string {
  return `(extract(epoch FROM ${column}) * 1000)::float8`;
}
