import {
  BackgroundTask,
  type BackgroundTaskHandler,
  type CurrentTask,
  type Enqueued,
  type PayloadOf,
  type ScheduleOptions,
  type TaskQueue,
  TaskState,
} from 'nestjs-backie';
import type { EntityManager } from 'typeorm';
import * as v from 'valibot';
import { z } from 'zod';

/** Nothing of this runs: `tsc -p test/tsconfig.json` compiles it, and fails on an error that is expected and missing. */

interface Letter {
  readonly to: string;
  readonly copies?: number;
}

@BackgroundTask('send-letter', { unique: ({ to }: Letter) => to })
class SendLetter implements BackgroundTaskHandler<Letter> {
  constructor(private readonly sender: string) {}

  async run(letter: Letter, task: CurrentTask): Promise<void> {
    await Promise.resolve([this.sender, letter.to, task.signal]);
  }
}

@BackgroundTask('tick')
class Tick implements BackgroundTaskHandler<void> {
  run(_: void): void {}
}

/** What run() does not take does not matter. */
@BackgroundTask('careless')
class Careless implements BackgroundTaskHandler<number> {
  run(): void {}
}

@BackgroundTask('maybe')
class Maybe implements BackgroundTaskHandler<string | undefined> {
  run(_: string | undefined): void {}
}

/** Without a payload in its type, anything goes. */
@BackgroundTask('anything')
class Anything implements BackgroundTaskHandler {
  run(_: unknown): void {}
}

@BackgroundTask('either')
class Either implements BackgroundTaskHandler<{ kind: 'a'; a: number } | { kind: 'b'; b: string }, number> {
  run(payload: { kind: 'a'; a: number } | { kind: 'b'; b: string }): number {
    return payload.kind === 'a' ? payload.a : payload.b.length;
  }
}

abstract class Base<Payload> implements BackgroundTaskHandler<Payload> {
  abstract run(payload: Payload): Promise<void>;
}

@BackgroundTask('inherited')
class Inherited extends Base<Letter> {
  async run(letter: Letter): Promise<void> {
    await Promise.resolve(letter);
  }
}

class NoTask {
  walk(): void {}
}

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
export const payloads: [
  Equal<PayloadOf<typeof SendLetter>, Letter>,
  Equal<PayloadOf<typeof Maybe>, string | undefined>,
  Equal<PayloadOf<typeof Inherited>, Letter>,
] = [true, true, true];

export async function takesItsPayloadFromTheClass(tasks: TaskQueue, manager: EntityManager): Promise<void> {
  const { id, duplicate }: Enqueued = await tasks.enqueue(SendLetter, { to: 'Ada' });
  const text: string = id;
  const flag: boolean = duplicate;
  await tasks.enqueue(SendLetter, { to: 'Ada', copies: 2 }, { manager, delayMs: 5, priority: 1, uniqueKey: text });
  await tasks.enqueue(Inherited, { to: 'Ada' });
  await tasks.enqueue(Either, { kind: 'a', a: 1 });
  await tasks.enqueueMany(SendLetter, [{ to: 'Ada' }, { to: 'Bob' }] as const, { scheduledAt: new Date() });
  await tasks.enqueue(Tick);
  await tasks.enqueue(Tick, undefined, { delayMs: flag ? 1 : 2 });
  await tasks.enqueue(Maybe);
  await tasks.enqueue(Maybe, 'text');
  await tasks.enqueue(Careless);
  await tasks.enqueue(Careless, 'anything');
  await tasks.enqueue(Anything);
  await tasks.enqueue(Anything, { any: ['thing'] });

  // @ts-expect-error It needs its payload.
  await tasks.enqueue(SendLetter);
  // @ts-expect-error A key is missing.
  await tasks.enqueue(SendLetter, {});
  // @ts-expect-error A value is of another type.
  await tasks.enqueue(SendLetter, { to: 7 });
  // @ts-expect-error There is no such key.
  await tasks.enqueue(SendLetter, { to: 'Ada', colour: 'red' });
  // @ts-expect-error Its parent's payload counts.
  await tasks.enqueue(Inherited, { from: 'Ada' });
  // @ts-expect-error The kinds do not mix.
  await tasks.enqueue(Either, { kind: 'a', b: 'text' });
  // @ts-expect-error A tick carries nothing.
  await tasks.enqueue(Tick, 'now');
  // @ts-expect-error One payload of several is wrong.
  await tasks.enqueueMany(SendLetter, [{ to: 'Ada' }, { too: 'Bob' }]);
  // @ts-expect-error They come as an array.
  await tasks.enqueueMany(SendLetter, { to: 'Ada' });
  // @ts-expect-error It is no task.
  await tasks.enqueue(NoTask, {});
  // @ts-expect-error The class, not an instance of it.
  await tasks.enqueue(new Tick());
}

export async function takesAnythingForABareName(tasks: TaskQueue): Promise<void> {
  await tasks.enqueue('from-elsewhere');
  await tasks.enqueue('from-elsewhere', { any: 'thing' }, { queue: 'email' });
  await tasks.enqueueMany('from-elsewhere', [1, 'two', null]);
}

export async function knowsItsOptions(tasks: TaskQueue): Promise<void> {
  await tasks.enqueue('any', 1, { scheduledAt: '2035-01-01T00:00:00Z' });
  // @ts-expect-error There is no such option.
  await tasks.enqueue('any', 1, { delay: 5 });
  // @ts-expect-error Milliseconds are a number.
  await tasks.enqueue('any', 1, { delayMs: '5s' });
  // @ts-expect-error One key for many would leave one task.
  await tasks.enqueueMany('any', [1], { uniqueKey: 'one' });
}

export async function showsWhatItFinds(tasks: TaskQueue): Promise<void> {
  const task = await tasks.find<Letter>('id');
  // @ts-expect-error There may be none.
  task.id.toString();
  const to: string | undefined = task?.payload.to;
  // @ts-expect-error It is not for changing.
  if (task) task.state = 'done';
  const unknown = await tasks.find('id');
  // @ts-expect-error Nobody said what it carries.
  unknown?.payload.to.toString();
  const counts = await tasks.counts();
  const sum: number = counts.ready + counts.running + counts.done + counts.failed + counts.cancelled;
  await Promise.resolve([to, sum]);
}

// @ts-expect-error A task has run().
@BackgroundTask('walks')
export class Walks {
  walk(): void {}
}

// @ts-expect-error The key is made of the handler's payload.
@BackgroundTask('other-key', { unique: ({ from }: { from: string }) => from })
export class OtherKey implements BackgroundTaskHandler<Letter> {
  run(_: Letter): void {}
}

// @ts-expect-error There is no such option.
@BackgroundTask('typo', { maxRetry: 3 })
export class Typo implements BackgroundTaskHandler {
  run(): void {}
}

const zodLetter = z.object({ to: z.string(), copies: z.coerce.number().default(1) });
const valibotLetter = v.object({ to: v.string(), copies: v.optional(v.number(), 1) });

@BackgroundTask('zod', { schema: zodLetter })
export class ZodTask implements BackgroundTaskHandler<z.output<typeof zodLetter>> {
  run(letter: z.output<typeof zodLetter>): void {
    letter.copies.toFixed();
  }
}

@BackgroundTask('valibot', { schema: valibotLetter, unique: ({ to }) => to })
export class ValibotTask implements BackgroundTaskHandler<v.InferOutput<typeof valibotLetter>> {
  run(letter: v.InferOutput<typeof valibotLetter>): void {
    letter.copies.toFixed();
  }
}

// @ts-expect-error The handler wants what the schema does not give.
@BackgroundTask('wrong-schema', { schema: zodLetter })
export class WrongSchema implements BackgroundTaskHandler<{ from: string }> {
  run(_: { from: string }): void {}
}

interface Digest {
  readonly tick: string;
  readonly size: number;
}

@BackgroundTask('digest', { cron: '@daily', timeZone: 'Europe/Berlin', catchUp: 'none', payload: { size: 1 } })
class DigestTask implements BackgroundTaskHandler<Digest> {
  run(_: Digest): void {}
}

@BackgroundTask('ticking', { cron: '@daily' })
class Ticking implements BackgroundTaskHandler<{ tick: string; size?: number }> {
  run(_: { tick: string; size?: number }): void {}
}

/** An interface has no index signature. */
declare const letter: Letter;

export const schedules = (tasks: TaskQueue): Promise<void>[] => [
  tasks.schedule('daily', DigestTask, { cron: '@daily', payload: { size: 1 } }),
  tasks.schedule('daily', 'digest', { cron: '@daily', catchUp: 'all', payload: { anything: 1 } }),
  // @ts-expect-error The task takes a number.
  tasks.schedule('daily', DigestTask, { cron: '@daily', payload: { size: '1' } }),
  // @ts-expect-error A schedule has a pattern.
  tasks.schedule('daily', DigestTask, { payload: { size: 1 } }),
  // @ts-expect-error There is no such catch-up.
  tasks.schedule('daily', DigestTask, { cron: '@daily', catchUp: 'some', payload: { size: 1 } }),
  // @ts-expect-error It needs its payload, as when it is enqueued.
  tasks.schedule('daily', DigestTask, { cron: '@daily' }),
  // @ts-expect-error A key is missing.
  tasks.schedule('daily', DigestTask, { cron: '@daily', payload: {} }),
  // @ts-expect-error The tick is the schedule's.
  tasks.schedule('daily', DigestTask, { cron: '@daily', payload: { size: 1, tick: 'now' } }),
  // @ts-expect-error Its parent's payload counts.
  tasks.schedule('daily', Inherited, { cron: '@daily' }),
  // @ts-expect-error Each of the kinds needs more.
  tasks.schedule('daily', Either, { cron: '@daily' }),
  // @ts-expect-error The kinds do not mix.
  tasks.schedule('daily', Either, { cron: '@daily', payload: { kind: 'a', b: 'text' } }),
  // @ts-expect-error A tick carries nothing more.
  tasks.schedule('daily', Tick, { cron: '@daily', payload: { size: 1 } }),
  tasks.schedule('daily', Either, { cron: '@daily', payload: { kind: 'b', b: 'text' } }),
  tasks.schedule('daily', Inherited, { cron: '@daily', priority: 1, payload: { to: 'Ada' } }),
  // What needs nothing but its tick, or nothing, may have none.
  tasks.schedule('daily', Ticking, { cron: '@daily' }),
  tasks.schedule('daily', Ticking, { cron: '@daily', payload: { size: 1 } }),
  tasks.schedule('daily', Tick, { cron: '@daily' }),
  tasks.schedule('daily', Careless, { cron: '@daily', payload: { any: ['thing'] } }),
  tasks.schedule('daily', Anything, { cron: '@daily' }),
  tasks.schedule('daily', Anything, { cron: '@daily', payload: letter }),
  tasks.schedule('daily', 'digest', { cron: '@daily' }),
];

const plainOptions: ScheduleOptions = { cron: '@daily', payload: { anything: 1 } };
const digestOptions: ScheduleOptions<Digest> = { cron: '@daily', payload: { size: 1 } };
// @ts-expect-error The payload is part of the options.
const noOptions: ScheduleOptions<Digest> = { cron: '@daily' };
export const options = [plainOptions, digestOptions, noOptions];

export const manyAtOnce = (tasks: TaskQueue): Promise<number>[] => [
  tasks.cancelMany({ state: 'ready' }),
  tasks.cancelMany({ state: [TaskState.ready, TaskState.running], before: new Date() }),
  tasks.retryMany({ state: TaskState.failed }),
  tasks.retryMany({ state: ['failed', 'cancelled'], queue: 'email' }),
  tasks.removeMany({ state: ['ready', 'done', 'failed', 'cancelled'], name: 'digest' }),
  tasks.removeMany({}),
  // @ts-expect-error What has ended cannot be cancelled.
  tasks.cancelMany({ state: 'done' }),
  // @ts-expect-error Nor can one of these.
  tasks.cancelMany({ state: ['ready', 'failed'] }),
  // @ts-expect-error What is done is not retried.
  tasks.retryMany({ state: TaskState.done }),
  // @ts-expect-error What runs is not removed.
  tasks.removeMany({ state: [TaskState.running] }),
  // @ts-expect-error There is no such state.
  tasks.removeMany({ state: 'gone' }),
];
