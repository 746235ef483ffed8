import { Injectable } from '@nestjs/common';
import {
  BackgroundTask,
  type BackgroundTaskHandler,
  type BackgroundTaskOptions,
  BackieError,
  InvalidOptionsError,
  InvalidPayloadError,
  PayloadSchemaError,
  type TaskQueue,
  UnknownTaskError,
} from 'nestjs-backie';
import pg from 'pg';
import type { EntityManager } from 'typeorm';
import { describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { bootApp, liveTasks, openDataSource, shared } from '../../support/app.js';
import { taskOf } from '../../support/tasks.js';

@BackgroundTask('any')
class Any implements BackgroundTaskHandler {
  run(): void {}
}

@BackgroundTask('checked', { schema: z.object({ id: z.number() }) })
class Checked implements BackgroundTaskHandler<{ id: number }> {
  run(): void {}
}

@BackgroundTask('rated', { rateLimit: { max: 1, perMs: 60_000 } })
class Rated implements BackgroundTaskHandler {
  run(): void {}
}

@Injectable()
class Undecorated {
  run(): void {}
}

const context = shared(async () => ({
  ...(await bootApp([Any, Checked, Rated], { workers: false })),
  dataSource: await openDataSource(),
}));

type Enqueue = (tasks: TaskQueue, manager: EntityManager | undefined) => Promise<unknown>;

const statements = vi.spyOn(pg.Client.prototype as unknown as { query(...args: unknown[]): unknown }, 'query');

/** Refused outside of a transaction and in one, which stays usable and commits nothing of it; no statement is sent. */
async function expectRefusal(
  enqueue: Enqueue,
  error: abstract new (...args: never[]) => BackieError,
  message: RegExp,
): Promise<void> {
  const { tasks, schema, dataSource } = context();
  const expectIn = async (manager?: EntityManager) => {
    statements.mockClear();
    const thrown = await enqueue(tasks, manager).catch((reason: unknown) => reason);
    expect(statements).not.toHaveBeenCalled();
    expect(thrown).toBeInstanceOf(error);
    expect((thrown as Error).message).toMatch(message);
  };
  await expectIn();
  await dataSource.transaction(async (manager) => {
    await expectIn(manager);
    expect(await manager.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });
  expect(await liveTasks(schema)).toBe(0);
}

it('sees the statements that are sent, when something is stored and when not', async () => {
  const { tasks, dataSource } = context();
  statements.mockClear();
  await tasks.remove((await tasks.enqueue(Any, 1)).id);
  const alone = statements.mock.calls.length;
  expect(alone).toBeGreaterThanOrEqual(2);
  await dataSource.transaction(async (manager) => {
    statements.mockClear();
    const { id } = await tasks.enqueue(Any, 1, { manager });
    expect(statements).toHaveBeenCalledOnce();
    await manager.query('SELECT 1');
    expect(statements).toHaveBeenCalledTimes(2);
    await manager.query(`DELETE FROM "${context().schema}".task WHERE id = $1`, [id]);
  });
});

describe('a payload is refused before anything is written:', () => {
  const circular: Record<string, unknown> = { name: 'me' };
  circular['self'] = circular;
  const nested = (depth: number) => {
    let value: unknown = null;
    for (let level = 0; level < depth; level++) value = { inner: value };
    return value;
  };
  const oneMiB = 1024 * 1024;

  it.each<[string, unknown, RegExp]>([
    ['circular', circular, /circular/i],
    ['a BigInt', 1n, /it is a BigInt; convert it to a string/],
    ['a BigInt inside', { amount: 1n }, /"amount" is a BigInt/],
    ['a function', () => 1, /a function/],
    ['a function inside', { at: { callback: () => 1 } }, /"callback" is a function/],
    ['a symbol', { tag: Symbol('tag') }, /"tag" is a symbol/],
    ['NaN', { ratio: Number.NaN }, /"ratio" is NaN/],
    ['Infinity', [Number.NEGATIVE_INFINITY], /-Infinity/],
    ['a Map', { index: new Map() }, /"index" is a Map; convert it to an array/],
    ['a Set', new Set([1]), /a Set/],
    ['a Promise', { later: Promise.resolve(1) }, /"later" is a Promise; await it/],
    [
      'a toJSON that throws',
      {
        toJSON: () => {
          throw new Error('cannot');
        },
      },
      /encoding it threw: cannot/,
    ],
    [
      'a toJSON that throws nothing much',
      {
        toJSON: () => {
          throw undefined;
        },
      },
      /encoding it threw/,
    ],
    [
      'a getter that throws',
      {
        get name() {
          throw new Error('no name');
        },
      },
      /no name/,
    ],
    ['a toJSON that gives a BigInt', { id: { toJSON: () => 1n } }, /"id" is a BigInt/],
    ['NUL in a value', { name: 'a\0b' }, /"name" holds a NUL character/],
    ['NUL in a key', { 'a\0b': 1 }, /the key "a\\u0000b" holds a NUL/],
    ['a lone high surrogate', ['a\ud800'], /lone surrogate/],
    ['a lone low surrogate', 'a\udc00b', /lone surrogate/],
    ['a lone surrogate in a key', { '\udfff': 1 }, /the key .* lone surrogate/],
    ['1 MiB and a byte', 'x'.repeat(oneMiB - 1), /1048577 bytes, the limit is 1048576/],
    ['1 MiB and a byte in characters that take several', `${'€'.repeat((oneMiB - 4) / 3)}xxx`, /1048577 bytes/],
    ['501 levels', JSON.parse(`${'['.repeat(501)}${']'.repeat(501)}`), /deeper than 500 levels/],
    ['10,000 levels', nested(10_000), /deeper than 500 levels/],
    ['1,000,000 levels', nested(1_000_000), /deeper than 500 levels/],
  ])('%s', async (_, payload, message) => {
    await expectRefusal((tasks, manager) => tasks.enqueue(Any, payload, { manager }), InvalidPayloadError, message);
    await expectRefusal(
      (tasks, manager) => tasks.enqueueMany('by-name', ['fine', payload], { manager }),
      InvalidPayloadError,
      message,
    );
  });

  it('one that violates its schema', async () => {
    const bad = { id: 'one' } as never;
    await expectRefusal((tasks, manager) => tasks.enqueue(Checked, bad, { manager }), PayloadSchemaError, /id: /);
    await expectRefusal(
      (tasks, manager) => tasks.enqueueMany(Checked, [{ id: 1 }, bad], { manager }),
      PayloadSchemaError,
      /"checked"/,
    );
  });

  it('and the message names the task, but shows nothing of the payload', async () => {
    const { tasks } = context();
    const error = await tasks.enqueue(Any, { secret: 'hunter2\0' }).catch((thrown: Error) => thrown);
    expect(String(error)).toMatch(/task "any"/);
    expect(String(error)).not.toMatch(/hunter2/);
  });
});

describe('a task is refused before anything is written:', () => {
  it.each<[string, unknown, typeof UnknownTaskError | typeof InvalidOptionsError, RegExp]>([
    ['a class that is not decorated', Undecorated, UnknownTaskError, /class Undecorated is not.*@BackgroundTask/],
    ['a class without a name', class {}, UnknownTaskError, /\(anonymous\)/],
    ['a function', () => 1, UnknownTaskError, /is not a background task/],
    ['an instance', new Any(), UnknownTaskError, /is not a background task/],
    ['an object without a prototype', Object.create(null), UnknownTaskError, /is not a background task/],
    ['undefined', undefined, UnknownTaskError, /\(undefined\) is not a background task/],
    ['a symbol', Symbol('any'), UnknownTaskError, /\(Symbol\(any\)\) is not a background task/],
    ['an empty name', '', InvalidOptionsError, /name of the task .* 1 to 128 characters/],
    ['a name of 300 characters', 'n'.repeat(300), InvalidOptionsError, /1 to 128 characters/],
    ['a name with NUL', 'a\0b', InvalidOptionsError, /PostgreSQL can store/],
    ['a name with a lone surrogate', '\ud83d', InvalidOptionsError, /PostgreSQL can store/],
  ])('%s', async (_, task, error, message) => {
    await expectRefusal((tasks, manager) => tasks.enqueue(task as string, 1, { manager }), error, message);
    await expectRefusal((tasks, manager) => tasks.enqueueMany(task as string, [1], { manager }), error, message);
  });
});

describe('an option is refused before anything is written:', () => {
  it.each<[string, object, RegExp]>([
    ['a negative delay', { delayMs: -1 }, /delayMs must be .* not -1/],
    ['a delay of NaN', { delayMs: Number.NaN }, /delayMs must be .* not NaN/],
    ['an endless delay', { delayMs: Number.POSITIVE_INFINITY }, /delayMs must be .* not Infinity/],
    ['a delay of more than ten years', { delayMs: 11 * 365 * 24 * 3_600_000 }, /delayMs/],
    ['a delay as text', { delayMs: '5s' }, /delayMs must be .* not "5s"/],
    ['no date', { scheduledAt: 'tomorrow' }, /scheduledAt must be a valid Date or ISO string.*not "tomorrow"/],
    ['a number as text', { scheduledAt: '5' }, /scheduledAt must be .* such as 2030-01-31T08:00:00Z.* not "5"/],
    ['a date that may be read in two orders', { scheduledAt: '10/11/2030' }, /scheduledAt/],
    ['a time of no zone', { scheduledAt: '2030-01-31T08:00:00' }, /scheduledAt/],
    ['a day that February does not have', { scheduledAt: '2030-02-30T08:00:00Z' }, /scheduledAt/],
    ['a month that no year has', { scheduledAt: '2030-13-01T08:00:00Z' }, /scheduledAt/],
    ['an invalid date', { scheduledAt: new Date(Number.NaN) }, /scheduledAt/],
    ['a time in milliseconds', { scheduledAt: Date.now() }, /scheduledAt/],
    ["a time after all of PostgreSQL's", { scheduledAt: new Date(8.64e15) }, /scheduledAt/],
    ['a year of five digits', { scheduledAt: '+010000-01-01T00:00:00.000Z' }, /scheduledAt/],
    ['a year before the first', { scheduledAt: '0000-12-31T23:59:59.999Z' }, /scheduledAt/],
    ['a time before Christ', { scheduledAt: new Date(-8.64e15) }, /scheduledAt/],
    ['a delay and a time', { delayMs: 1, scheduledAt: new Date() }, /either delayMs or scheduledAt/],
    ['a priority above the highest', { priority: 32_768 }, /priority must be an integer from -32768 to 32767/],
    ['a priority below the lowest', { priority: -32_769 }, /priority/],
    ['half a priority', { priority: 0.5 }, /priority/],
    ['a negative number of retries', { maxRetries: -1 }, /maxRetries/],
    ['no end of retries', { maxRetries: Number.POSITIVE_INFINITY }, /maxRetries/],
    ['no time at all', { timeoutMs: 0 }, /timeoutMs/],
    ['more time than a timer knows', { timeoutMs: 2 ** 31 }, /timeoutMs/],
    ['an empty queue', { queue: '' }, /queue must be/],
    ['a queue of 129 characters', { queue: 'q'.repeat(129) }, /queue must be/],
    ['a queue with NUL', { queue: 'a\0b' }, /queue must be/],
    ['an unknown option', { retries: 1 }, /there is no option "retries"/],
    ['a typo', { prioritiy: 1 }, /"prioritiy"\. Did you mean "priority"\?/],
    ['a manager that is none', { manager: 'manager' }, /manager must be/],
    [
      'a manager that cannot query',
      { manager: {} },
      /manager is no EntityManager of TypeORM's.* dataSource\.transaction/,
    ],
  ])('%s', async (_, options, message) => {
    const withManager = (manager: EntityManager | undefined) => ({ manager, ...options });
    await expectRefusal((tasks, m) => tasks.enqueue(Any, 1, withManager(m)), InvalidOptionsError, message);
    await expectRefusal((tasks, m) => tasks.enqueueMany(Any, [1], withManager(m)), InvalidOptionsError, message);
  });

  it.each([
    ['empty', ''],
    ['of 256 characters', 'k'.repeat(256)],
    ['with NUL', 'a\0b'],
    ['that is no string', 7],
  ])('a unique key %s', async (_, uniqueKey) => {
    const options = { uniqueKey } as object;
    await expectRefusal(
      (tasks, manager) => tasks.enqueue(Any, 1, { ...options, manager }),
      InvalidOptionsError,
      /uniqueKey must be a string of 1 to 255 characters/,
    );
  });

  it.each([
    ['of its class', Any],
    ['of its name', 'any'],
  ])('a rate key for a task %s that is known to have no rate limit', async (_, task) => {
    const expectKeyRefused = (enqueue: Enqueue) =>
      expectRefusal(enqueue, InvalidOptionsError, /rateKey .* task "any" has no rateLimit/);
    await expectKeyRefused((tasks, manager) => tasks.enqueue(task as string, 1, { rateKey: 'a', manager }));
    await expectKeyRefused((tasks, manager) => tasks.enqueueMany(task as string, [1], { rateKey: 'a', manager }));
    await expectKeyRefused((tasks, manager) => tasks.enqueueMany(task as string, [], { rateKey: 'a', manager }));
    // It may have one where it is known, and this one does.
    const { tasks } = context();
    for (const other of ['unknown', 'rated', Rated] as string[]) {
      expect(await tasks.remove((await tasks.enqueue(other, 1, { rateKey: 'a' })).id)).toBe(true);
    }
  });

  it.each([
    ['a DataSource', () => context().dataSource],
    ['a query runner', () => context().dataSource.createQueryRunner()],
    ["a DataSource's own manager, which is in no transaction", () => context().dataSource.manager],
  ])('%s in place of the manager of a transaction', async (_, manager) => {
    await expectRefusal(
      (tasks) => tasks.enqueue(Any, 1, { manager: manager() as EntityManager }),
      InvalidOptionsError,
      /manager has no transaction: give the one that dataSource\.transaction/,
    );
  });

  it.each([null, 'email', 5, []])('%o in place of the options', async (options) => {
    await expectRefusal((tasks) => tasks.enqueue('any', 1, options as never), InvalidOptionsError, /options must be/);
  });
});

describe('what is no name is refused by every call that takes one:', () => {
  const app = shared(() => bootApp([Any], { workers: false }));
  const calls: Record<string, (tasks: TaskQueue, name: string) => Promise<unknown>> = {
    counts: (tasks, name) => tasks.counts(name),
    pause: (tasks, name) => tasks.pause(name),
    resume: (tasks, name) => tasks.resume(name),
    pauseTask: (tasks, name) => tasks.pauseTask(name),
    resumeTask: (tasks, name) => tasks.resumeTask(name),
    limits: (tasks, name) => tasks.limits(name),
    redrive: (tasks, name) => tasks.redrive(name),
    unschedule: (tasks, name) => tasks.unschedule(name),
    pauseSchedule: (tasks, name) => tasks.pauseSchedule(name),
    resumeSchedule: (tasks, name) => tasks.resumeSchedule(name),
    runNow: (tasks, name) => tasks.runNow(name),
  };

  it.each(Object.keys(calls))('%s', async (call) => {
    for (const name of ['', 'a\0b', 5, null, { queue: 'mail' }, 'q'.repeat(129)]) {
      await expect(calls[call](app().tasks, name as string)).rejects.toThrow(InvalidOptionsError);
    }
  });
});

describe('a function of a task that throws for a payload is refused by its name, and nothing is stored:', () => {
  const cause = new Error('no account.');
  const key = (payload: unknown) => {
    if (payload === 2) throw cause;
    return String(payload);
  };

  it.each<[string, BackgroundTaskOptions]>([
    ['unique key', { unique: key }],
    ['unique key', { unique: { key, within: 1_000 } }],
    ['rate key', { rateLimit: { max: 1, perMs: 1_000, key } }],
  ])('%s', async (what, options) => {
    const Bad = taskOf('bad', () => {}, options);
    const { tasks, schema } = await bootApp([Bad], { workers: false });
    const enqueued = tasks.enqueueMany(Bad, [1, 2, 3]);
    await expect(enqueued).rejects.toThrow(InvalidOptionsError);
    await expect(enqueued).rejects.toThrow(
      `The function that makes the ${what} of task "bad" threw for a payload: no account. Let it return a key for every payload.`,
    );
    await expect(enqueued).rejects.toMatchObject({ cause });
    expect(await liveTasks(schema)).toBe(0);
  });
});
