import { CurrentTask, type Task, type TaskQueue } from 'nestjs-backie';
import { expect, it, onTestFinished, vi } from 'vitest';
import { startWorker } from '../../fixtures/worker-process.js';
import { bootApp, freshSchema, next, openDataSource, sql } from '../../support/app.js';
import { deferred, taskOf, until } from '../../support/tasks.js';

const everySecond = '* * * * * *';
const keepAll = { retention: 'keepAll' as const };
const short = { leaseMs: 1_000, heartbeatMs: 100 };

interface Tick {
  readonly tick: string;
}

/** That there is one tick each second, from the first to the last of them. */
function expectEverySecond(ticks: readonly string[]): void {
  const first = Date.parse(ticks.toSorted()[0]);
  expect(ticks.toSorted()).toEqual(ticks.map((_, i) => new Date(first + i * 1_000).toISOString()));
}

async function ticksOf(tasks: TaskQueue, name: string): Promise<string[]> {
  const { tasks: found } = await tasks.list({ name }, { limit: 1_000 });
  return found.map((task: Task) => (task.payload as Tick).tick);
}

it('gives one task a tick in three applications that declare the schedule', async () => {
  const schema = freshSchema();
  const runs: { readonly payload: unknown; readonly task: CurrentTask }[] = [];
  const enough = deferred();
  const Beat = taskOf(
    'beat',
    (payload, task) => {
      if (runs.push({ payload, task }) === 5) enough.resolve();
    },
    { cron: everySecond, catchUp: 'all', payload: { of: 'ours' } as object, priority: 7 },
  );
  const apps = await Promise.all(Array.from({ length: 3 }, () => bootApp([Beat], { schema, defaults: keepAll })));
  const enqueued: string[] = [];
  for (const { events } of apps) events.enqueued.subscribe(({ id }) => enqueued.push(id));
  await enough.promise;
  await Promise.all(apps.map(({ pool }) => pool.drain()));
  const ticks = await ticksOf(apps[0].tasks, 'beat');
  expect(ticks.length).toBeGreaterThanOrEqual(5);
  expectEverySecond(ticks);
  for (const { payload, task } of runs) {
    const { tick } = payload as Tick;
    expect(payload).toEqual({ of: 'ours', tick });
    expect(tick).toBe(task.scheduledAt.toISOString());
    expect(task).toMatchObject({ name: 'beat', queue: 'default', priority: 7 });
  }
  // Each of them told by the one that stored it. The first may have been stored before the test listened.
  expect(new Set(enqueued).size).toBe(enqueued.length);
  const [schedule] = await apps[0].tasks.schedules();
  expect(schedule.lastAt?.toISOString()).toBe(ticks.toSorted().at(-1));
});

it('neither loses nor doubles a tick when processes are killed, and makes good for the time when none ran', async () => {
  const { tasks, schema } = await bootApp([], { workers: false });
  const options = { schema, ...short, defaults: keepAll };
  const first = await startWorker(options);
  const second = await startWorker(options);
  const ran = [first.next('done', 2), second.next('done', 2)];
  await tasks.schedule('beat', 'quick', { cron: everySecond, catchUp: 'all' });
  await Promise.race(ran);
  await first.kill();
  await second.next('done', 2);
  await second.kill();
  const killedAt = Date.now();
  const [{ nextAt }] = await tasks.schedules();
  // Nobody moves it on while two of its ticks pass.
  await until(
    async () => Date.now(),
    (now) => now > killedAt + 2_500,
  );
  expect((await tasks.schedules())[0].nextAt).toEqual(nextAt);
  const third = await startWorker(options);
  await third.next('done', 5);
  await tasks.unschedule('beat');
  const ticks = await ticksOf(tasks, 'quick');
  expect(ticks.length).toBeGreaterThanOrEqual(8);
  expectEverySecond(ticks);
  expect(ticks).toContain(nextAt!.toISOString());
  await third.close();
});

it('takes over the schedule of a new deployment, and ends it with the one that declares it no more', async () => {
  const schema = freshSchema();
  const before = await bootApp([taskOf('report', () => {}, { cron: '0 0 1 1 *', timeZone: 'Asia/Tokyo' })], { schema });
  const list = () => before.tasks.schedules();
  expect(await until(list, (all) => all.length > 0)).toMatchObject([
    { name: 'report', task: 'report', cron: '0 0 1 1 *', timeZone: 'Asia/Tokyo', declared: true, lastAt: null },
  ]);

  const ticked = deferred<Tick>();
  const Changed = taskOf<Tick>('report', (payload) => ticked.resolve(payload), { cron: everySecond });
  const after = await bootApp([Changed], { schema, defaults: keepAll });
  await until(list, ([one]) => one.cron === everySecond && one.lastAt !== null);
  await until(
    () => ticksOf(after.tasks, 'report'),
    (ticks) => ticks.length > 0,
  );

  // A process that only enqueues changes nothing.
  await bootApp([taskOf('report', () => {})], { schema, workers: false });
  expect(await list()).toHaveLength(1);

  await before.app.close();
  await after.app.close();
  const ending = await bootApp([taskOf('report', () => {}), taskOf('other', () => {})], { schema, defaults: keepAll });
  await until(
    () => ending.tasks.schedules(),
    (all) => all.length === 0,
  );
  const stopped = await ticksOf(ending.tasks, 'report');
  await ending.tasks.schedule('other', 'other', { cron: everySecond });
  await until(
    () => ticksOf(ending.tasks, 'other'),
    (ticks) => ticks.length >= 2,
  );
  expect(await ticksOf(ending.tasks, 'report')).toEqual(stopped);
});

it('keeps the schedule of a running process through starts of one that declares none, and misses no tick', async () => {
  const schema = freshSchema();
  const Beat = taskOf('beat', () => {}, { cron: everySecond, catchUp: 'all' });
  const Rare = taskOf('rare', () => {}, { cron: '0 0 1 1 *' });
  const newer = await bootApp([Beat, Rare], { schema, defaults: keepAll });
  await newer.tasks.pauseSchedule('rare');
  await next(newer.events, 'done', 1);
  for (let start = 0; start < 2; start++) {
    const more = next(newer.events, 'enqueued', 3, ({ name }) => name === 'beat');
    const older = await bootApp([taskOf('beat', () => {}), taskOf('rare', () => {})], { schema, defaults: keepAll });
    await more;
    await older.app.close();
  }
  expect(await newer.tasks.schedules()).toMatchObject([
    { name: 'beat', declared: true, paused: false, lastAt: expect.any(Date) as Date },
    { name: 'rare', declared: true, paused: true },
  ]);
  expectEverySecond(await ticksOf(newer.tasks, 'beat'));
});

it('makes good for no tick of the time in which nobody declared the schedule', async () => {
  const schema = freshSchema();
  const daily = () => taskOf('daily', () => {}, { cron: '@daily', catchUp: 'all' });
  const before = await bootApp([daily()], { schema });
  const [{ nextAt }] = await before.tasks.schedules();
  await before.app.close();
  const ending = await bootApp([taskOf('daily', () => {})], { schema });
  expect(await ending.tasks.schedules()).toEqual([]);
  await ending.app.close();
  await sql(`UPDATE "${schema}".schedule
    SET next_at = next_at - interval '90 days', ended_at = ended_at - interval '90 days'`);
  const after = await bootApp([daily()], { schema, defaults: keepAll });
  const [schedule] = await after.tasks.schedules();
  expect(schedule).toMatchObject({ declared: true, lastAt: null });
  expect(schedule.nextAt!.getTime()).toBeGreaterThanOrEqual(nextAt!.getTime());
  expect(await ticksOf(after.tasks, 'daily')).toEqual([]);
});

it('enqueues tasks that expire, whatever the clock of the process says', async () => {
  const clock = Date.now.bind(Date);
  const behind = vi.spyOn(Date, 'now').mockImplementation(() => clock() - 3_600_000);
  onTestFinished(() => behind.mockRestore());
  const expiresInMs = 300_000;
  const Brief = taskOf('brief', () => {}, { cron: everySecond, expiresInMs });
  const { tasks, events } = await bootApp([Brief], { defaults: keepAll });
  const [{ id }] = await next(events, 'done', 2, ({ name }) => name === 'brief');
  const task = (await tasks.find(id))!;
  expect(task.expiresAt!.getTime() - task.createdAt.getTime()).toBe(expiresInMs);
  await tasks.runNow('brief');
  expect(await tasks.schedule('rare', Brief, { cron: '0 0 29 2 *' })).toBeUndefined();
});

it('lets the others tick while a transaction holds the unique key of one, which ticks when that has ended', async () => {
  const Unique = taskOf('unique', () => {}, { unique: () => 'key', cron: everySecond });
  const Other = taskOf('other', () => {}, { cron: everySecond });
  const { tasks, events } = await bootApp([Unique, Other]);
  await next(events, 'done', 1, ({ name }) => name === 'unique');
  await tasks.pauseSchedule('unique');
  await until(
    () => tasks.counts(),
    ({ ready, running }) => ready + running === 0,
  );
  const dataSource = await openDataSource();
  const pending = dataSource.createQueryRunner();
  await pending.startTransaction();
  await tasks.enqueue(Unique, {} as never, { manager: pending.manager });
  await tasks.resumeSchedule('unique');
  await next(events, 'done', 4, ({ name }) => name === 'other');
  const again = next(events, 'done', 1, ({ name }) => name === 'unique');
  await pending.rollbackTransaction();
  await pending.release();
  await again;
});
