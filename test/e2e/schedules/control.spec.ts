import {
  BackieError,
  InvalidOptionsError,
  InvalidPayloadError,
  InvalidScheduleError,
  PayloadSchemaError,
  ScheduleDeclaredError,
  type ScheduleOptions,
  type TaskQueue,
  UnknownScheduleError,
  UnknownTaskError,
} from 'nestjs-backie';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { bootApp, freshSchema, next, shared } from '../../support/app.js';
import { found, taskOf, until } from '../../support/tasks.js';

const everySecond = '* * * * * *';
const never = '0 0 29 2 *';

/** What has happened to the ticks of a task: oldest first. */
async function ticksOf(tasks: TaskQueue, name: string): Promise<number[]> {
  const page = await tasks.list({ name }, { limit: 1_000 });
  return page.tasks.map(({ payload }) => Date.parse((payload as { tick: string }).tick)).toSorted((a, b) => a - b);
}

/** A worker, and a process that only enqueues. */
async function pair() {
  const schema = freshSchema();
  const defaults = { retention: 'keepAll' as const };
  const worker = await bootApp([taskOf('beat', () => {}), taskOf('clock', () => {})], { schema, defaults });
  const remote = await bootApp([], { schema, workers: false });
  /** Lets the worker show by another schedule that time has passed for it. */
  const passTwoTicks = async () => {
    const before = (await ticksOf(remote.tasks, 'clock')).length;
    await until(
      () => ticksOf(remote.tasks, 'clock'),
      (ticks) => ticks.length >= before + 3,
    );
  };
  await remote.tasks.schedule('clock', 'clock', { cron: everySecond });
  return { worker, remote, passTwoTicks };
}

describe('from another process', () => {
  it('a schedule is made, changed and removed', async () => {
    const { worker, remote, passTwoTicks } = await pair();
    // A worker that nobody told would look within ten seconds.
    const startedAt = performance.now();
    const ran = next(worker.events, 'done', 1, ({ name }) => name === 'beat');
    await remote.tasks.schedule('heart', 'beat', { cron: everySecond, payload: { of: 'a' }, maxRetries: 2 });
    const [{ id }] = await ran;
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    const task = await found(remote.tasks, id);
    expect(task).toMatchObject({ name: 'beat', payload: { of: 'a' }, maxRetries: 2 });
    expect(task.scheduledAt.toISOString()).toBe((task.payload as { tick: string }).tick);

    await remote.tasks.schedule('heart', 'beat', { cron: everySecond, payload: { of: 'b' } });
    const changed = async () => (await remote.tasks.list({ name: 'beat' }, { limit: 1 })).tasks[0];
    await until(changed, ({ payload }) => (payload as { of: string }).of === 'b');

    expect(await remote.tasks.unschedule('heart')).toBe(true);
    expect(await remote.tasks.unschedule('heart')).toBe(false);
    const before = await ticksOf(remote.tasks, 'beat');
    await passTwoTicks();
    expect(await ticksOf(remote.tasks, 'beat')).toEqual(before);
    expect((await remote.tasks.schedules()).map(({ name }) => name)).toEqual(['clock']);
  });

  it('a schedule is paused and resumed, and what passed meanwhile is left out', async () => {
    const { worker, remote, passTwoTicks } = await pair();
    const ran = next(worker.events, 'done', 2, ({ name }) => name === 'beat');
    await remote.tasks.schedule('heart', 'beat', { cron: everySecond, catchUp: 'all' });
    await ran;
    await remote.tasks.pauseSchedule('heart');
    await remote.tasks.pauseSchedule('heart');
    const before = await ticksOf(remote.tasks, 'beat');
    await passTwoTicks();
    expect(await ticksOf(remote.tasks, 'beat')).toEqual(before);
    expect(await remote.tasks.schedules()).toMatchObject([{ name: 'clock', paused: false }, { paused: true }]);

    const again = next(worker.events, 'done', 2, ({ name }) => name === 'beat');
    await remote.tasks.resumeSchedule('heart');
    await again;
    const after = (await ticksOf(remote.tasks, 'beat')).slice(before.length);
    expect(after[0] - before.at(-1)!).toBeGreaterThan(2_000);
    expect(after.map((tick) => tick - after[0])).toEqual(after.map((_, i) => i * 1_000));
    expect(await remote.tasks.schedules()).toMatchObject([{}, { name: 'heart', paused: false }]);
  });

  it('a schedule runs out of turn, even while it is paused', async () => {
    const { worker, remote } = await pair();
    const options = { cron: never, payload: { of: 'a' }, priority: -5, timeoutMs: 4_000 };
    await remote.tasks.schedule('heart', 'beat', options);
    await remote.tasks.pauseSchedule('heart');
    const [before] = (await remote.tasks.schedules()).slice(1);
    const ran = next(worker.events, 'done', 1, ({ name }) => name === 'beat');
    const { id } = await remote.tasks.runNow('heart');
    expect(await ran).toMatchObject([{ id }]);
    const task = await found(remote.tasks, id);
    expect(task).toMatchObject({ payload: { of: 'a' }, priority: -5, timeoutMs: 4_000, state: 'done' });
    const tick = (task.payload as { tick: string }).tick;
    expect(tick).toBe(new Date(tick).toISOString());
    expect(Math.abs(Date.parse(tick) - Date.now())).toBeLessThan(60_000);
    expect((await remote.tasks.schedules())[1]).toEqual(before);
  });
});

describe('bad input is refused and changes nothing:', () => {
  const Declared = taskOf('declared', () => {}, { cron: never });
  const Strict = taskOf('strict', () => {}, { schema: z.object({ tick: z.string(), size: z.number() }) });
  class Plain {
    run(): void {}
  }
  const circular: Record<string, unknown> = {};
  circular.self = circular;

  const app = shared(async () => {
    const booted = await bootApp([Declared, Strict]);
    await booted.tasks.schedule('there', 'work', { cron: never, payload: { a: 1 } });
    await until(
      () => booted.tasks.schedules(),
      (all) => all.length === 2,
    );
    return booted;
  });

  const put = (options: object, name = 'there', task: unknown = 'work') =>
    app().tasks.schedule(name, task as string, options as ScheduleOptions);
  const fine = { cron: everySecond };

  const table: [string, () => Promise<unknown>, Function, RegExp][] = [
    ['a pattern', () => put({ cron: '61 * * * *' }), InvalidScheduleError, /schedule\("there"\).*minute/],
    ['no pattern', () => put({}), InvalidScheduleError, /five fields/],
    ['seven fields', () => put({ cron: '* * * * * * *' }), InvalidScheduleError, /five fields/],
    ['a pattern without ticks', () => put({ cron: '0 0 30 2 *' }), InvalidScheduleError, /never ticks/],
    ['a time zone', () => put({ ...fine, timeZone: 'Europe/Berln' }), InvalidScheduleError, /"Europe\/Berln"/],
    ['no options', () => put(undefined as unknown as object), InvalidOptionsError, /schedule\("there"\)/],
    ['a mistyped option', () => put({ ...fine, timezone: 'UTC' }), InvalidOptionsError, /"timezone".*"timeZone"/],
    ['catchUp', () => put({ ...fine, catchUp: 'some' }), InvalidOptionsError, /catchUp/],
    ['a queue', () => put({ ...fine, queue: '' }), InvalidOptionsError, /queue/],
    ['a priority', () => put({ ...fine, priority: 40_000 }), InvalidOptionsError, /priority/],
    ['retries', () => put({ ...fine, maxRetries: -1 }), InvalidOptionsError, /maxRetries/],
    ['a timeout', () => put({ ...fine, timeoutMs: 0 }), InvalidOptionsError, /timeoutMs/],
    ['a list', () => put({ ...fine, payload: [1] }), InvalidOptionsError, /payload/],
    ['a text', () => put({ ...fine, payload: 'x' }), InvalidOptionsError, /payload/],
    ['what is no object as JSON', () => put({ ...fine, payload: new Date() }), InvalidPayloadError, /object/],
    [
      'a tick of its own',
      () => put({ ...fine, payload: { tick: 'now' } }),
      InvalidPayloadError,
      /"work".*a tick of its/,
    ],
    [
      'a tick of its own as JSON',
      () => put({ ...fine, payload: { toJSON: () => ({ tick: null }) } }),
      InvalidPayloadError,
      /"work".*a tick of its/,
    ],
    ['a circle', () => put({ ...fine, payload: circular }), InvalidPayloadError, /"work"/],
    ['a bigint', () => put({ ...fine, payload: { a: 1n } }), InvalidPayloadError, /"work"/],
    ['what JSON loses', () => put({ ...fine, payload: { a: new Map() } }), InvalidPayloadError, /"work"/],
    ['what PostgreSQL cannot store', () => put({ ...fine, payload: { a: '\0' } }), InvalidPayloadError, /"work"/],
    ['a large payload', () => put({ ...fine, payload: { a: 'x'.repeat(2 ** 20) } }), InvalidPayloadError, /limit/],
    [
      'a payload by its schema',
      () => put({ ...fine, payload: { size: 'x' } }, 'new', Strict),
      PayloadSchemaError,
      /size/,
    ],
    ['a class that is no task', () => put(fine, 'new', Plain), UnknownTaskError, /Plain/],
    ['an empty name', () => put(fine, ''), InvalidOptionsError, /name of the schedule/],
    ['a long name', () => put(fine, 'x'.repeat(129)), InvalidOptionsError, /name of the schedule/],
    ['a declared name', () => put(fine, 'declared'), ScheduleDeclaredError, /"declared".*pauseSchedule/],
    ['the end of a declared one', () => app().tasks.unschedule('declared'), ScheduleDeclaredError, /"declared"/],
    ['the pause of none', () => app().tasks.pauseSchedule('none'), UnknownScheduleError, /"none"/],
    ['the end of a pause of none', () => app().tasks.resumeSchedule('none'), UnknownScheduleError, /"none"/],
    ['one named like trouble', () => app().tasks.runNow('socket timeout'), UnknownScheduleError, /"socket timeout"/],
    ['a run of none', () => app().tasks.runNow('none'), UnknownScheduleError, /"none"/],
  ];
  it.each(table)('%s', async (_what, call, error, message) => {
    const before = await app().tasks.schedules();
    const refused = call();
    await expect(refused).rejects.toThrow(BackieError);
    await expect(refused).rejects.toThrow(error as typeof Error);
    await expect(refused).rejects.toThrow(message);
    expect(await app().tasks.schedules()).toEqual(before);
    expect(await app().tasks.counts()).toMatchObject({ ready: 0, running: 0, failed: 0 });
  });

  it('not so what fits', async () => {
    await put({ ...fine, cron: never, payload: { size: 1, tick: undefined } }, 'sized', Strict);
    expect(await app().tasks.schedules()).toContainEqual(expect.objectContaining({ name: 'sized', task: 'strict' }));
    expect(await app().tasks.unschedule('sized')).toBe(true);
  });
});

describe('@BackgroundTask refuses, when the class is declared,', () => {
  it.each<[string, object, Function, RegExp]>([
    ['a pattern', { cron: '* * * * 9' }, InvalidScheduleError, /@BackgroundTask\("task"\).*dayOfWeek/],
    ['a time zone', { cron: never, timeZone: 'Mars' }, InvalidScheduleError, /@BackgroundTask\("task"\).*"Mars"/],
    ['catchUp', { cron: never, catchUp: 'some' }, InvalidOptionsError, /catchUp/],
    ['a payload', { cron: never, payload: [] }, InvalidOptionsError, /payload/],
    ['a payload that cannot be stored', { cron: never, payload: { a: '\0' } }, InvalidPayloadError, /"task"/],
    ['a payload with a tick', { cron: never, payload: { tick: 1 } }, InvalidPayloadError, /"task".*a tick of its own/],
    ['a time zone without a pattern', { timeZone: 'UTC' }, InvalidOptionsError, /timeZone.*add cron/],
    ['catchUp without a pattern', { catchUp: 'all' }, InvalidOptionsError, /catchUp.*add cron/],
    ['a payload without a pattern', { payload: {} }, InvalidOptionsError, /payload.*add cron/],
  ])('%s', (_what, options, error, message) => {
    const declare = () => taskOf('task', () => {}, options);
    expect(declare).toThrow(error as typeof Error);
    expect(declare).toThrow(message);
  });
});
