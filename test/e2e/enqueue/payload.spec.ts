import fc from 'fast-check';
import { BackgroundTask, type BackgroundTaskHandler } from 'nestjs-backie';
import { beforeEach, describe, expect, it } from 'vitest';
import { bootApp, next, runTask, shared } from '../../support/app.js';

@BackgroundTask('keep')
class Keep implements BackgroundTaskHandler {
  readonly payloads: unknown[] = [];

  run(payload: unknown): void {
    this.payloads.push(payload);
  }
}

class Point {
  constructor(readonly x: number) {}
}

/** One process that enqueues and works, beside one that only enqueues and one that only works. */
const context = shared(async () => {
  const both = await bootApp([Keep]);
  const producer = await bootApp([Keep], { workers: false });
  const worker = await bootApp([Keep], { schema: producer.schema });
  return { both, apart: { ...worker, tasks: producer.tasks } };
});
beforeEach(() => {
  for (const { app } of Object.values(context())) app.get(Keep).payloads.length = 0;
});

type Way = keyof ReturnType<typeof context>;

/** Either the payload is handed over to a worker in the same process, or it takes the way through the database. */
async function arrived(payload: unknown, way: Way): Promise<unknown> {
  const { app, tasks, events } = context()[way];
  await runTask({ tasks, events }, Keep, payload);
  return app.get(Keep).payloads[0];
}

const nested = (depth: number) => JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`) as unknown;
const oneMiB = 1024 * 1024;

describe.each<[string, Way]>([
  ['the process that enqueued it', 'both'],
  ['another process', 'apart'],
])('in %s, a payload arrives', (_, way) => {
  it.each<[string, unknown]>([
    ['null', null],
    ['false', false],
    ['zero', 0],
    ['the empty string', ''],
    ['a string', 'text'],
    ['an empty object', {}],
    ['an empty array', []],
    ['numbers at the ends', [Number.MAX_VALUE, Number.MIN_VALUE, Number.MAX_SAFE_INTEGER, -1e-7, 0.1 + 0.2]],
    ['unicode', { 'ключ 🗝': 'Zoë 👩‍👩‍👧‍👦 \u202Eمرحبا \u2028\u2029\uFEFF\u{10FFFF}' }],
    ['control characters', '\u0001\b\t\n\v\f\r\u001F\u007F\u0085'],
    ['quotes and backslashes', `\\ " ' \\u0000 \\\\ $1 :name ? -- ; {} []`],
    ['strings that look like something else', ['null', '1', '{"a":1}', '2020-01-01', 'NaN', '\\x00']],
    ['keys of any kind', { '': 1, ' ': 2, 'a.b': 3, 0: 4, constructor: 5, toString: 6, hasOwnProperty: 7 }],
    ['a nesting of 500', nested(500)],
    ['exactly 1 MiB', 'x'.repeat(oneMiB - 2)],
    ['exactly 1 MiB of characters that take several bytes', '€'.repeat((oneMiB - 4) / 3)],
  ])('as it went: %s', async (_, payload) => {
    expect(await arrived(payload, way)).toStrictEqual(payload);
  });

  it('as it went: __proto__ as a key, which stays data', async () => {
    const text = '{"__proto__":{"admin":true}}';
    const payload = (await arrived(JSON.parse(text), way)) as Record<string, unknown>;
    expect(JSON.stringify(payload)).toBe(text);
    expect(Object.getPrototypeOf(payload)).toBe(Object.prototype);
    expect(payload['admin']).toBeUndefined();
    expect(({} as Record<string, unknown>)['admin']).toBeUndefined();
  });

  it.each<[string, unknown, unknown]>([
    ['undefined as null', undefined, null],
    ['a Date as its ISO string', { at: new Date(0) }, { at: '1970-01-01T00:00:00.000Z' }],
    ['what toJSON gives', { toJSON: () => ({ id: 1 }) }, { id: 1 }],
    ['without properties that are undefined', { a: 1, b: undefined }, { a: 1 }],
    ['a boxed string as a string', Object('text'), 'text'],
    ['minus zero as zero', -0, 0],
    ['an instance by its own properties', new Point(1), { x: 1 }],
  ])('as JSON has it: %s', async (_, payload, expected) => {
    expect(await arrived(payload, way)).toStrictEqual(expected);
  });

  it('as it was at the call, whatever becomes of the object', async () => {
    const { app, tasks, events } = context()[way];
    const payload = { state: 'before' };
    const done = next(events, 'done');
    const enqueued = tasks.enqueue(Keep, payload);
    payload.state = 'after';
    await enqueued;
    await done;
    expect(app.get(Keep).payloads).toEqual([{ state: 'before' }]);
  });
});

it('stores any JSON as it is', async () => {
  const { tasks } = context().both;
  const payloads = fc.sample(fc.jsonValue({ maxDepth: 5, stringUnit: 'grapheme' }), 500) as unknown[];
  const results = await tasks.enqueueMany('kept-for-nobody', payloads);
  const { tasks: stored } = await tasks.list({ name: 'kept-for-nobody' }, { limit: 500, order: 'oldestFirst' });
  expect(stored.map(({ id }) => id)).toEqual(results.map(({ id }) => id));
  for (const [index, { payload }] of stored.entries()) {
    expect(payload).toStrictEqual(JSON.parse(JSON.stringify(payloads[index])));
  }
});

it('allows larger payloads when the module says so', async () => {
  const app = await bootApp([Keep], { maxPayloadBytes: 4 * oneMiB });
  const payload = 'x'.repeat(4 * oneMiB - 2);
  await runTask(app, Keep, payload);
  expect(app.app.get(Keep).payloads[0]).toBe(payload);
});
