import { Backoff } from 'nestjs-backie';
import { expect, it } from 'vitest';
import { bootApp, next } from '../../support/app.js';
import { found, taskOf } from '../../support/tasks.js';

const refuse = (): never => {
  throw new Error('do not touch');
};
/** Whatever is done with it throws. */
const hostile = new Proxy(new Error('hidden'), {
  get: refuse,
  has: refuse,
  getPrototypeOf: refuse,
  ownKeys: refuse,
  getOwnPropertyDescriptor: refuse,
});
const { proxy: revoked, revoke } = Proxy.revocable({}, {});
revoke();

function errorWith(properties: PropertyDescriptorMap): Error {
  return Object.defineProperties(new Error('plain'), properties);
}

const circular: { self?: unknown } = {};
circular.self = circular;
const ouroboros = new Error('bites its tail');
ouroboros.cause = ouroboros;

const thrown: Record<string, unknown> = {
  undefined,
  null: null,
  'a string': 'broken',
  'an empty string': '',
  'a number': 0,
  'a BigInt': 10n,
  'a symbol': Symbol('why'),
  'a function': () => 'why',
  'an object': { code: 7 },
  'an object without a prototype': Object.create(null),
  'a circular object': circular,
  'an object whose toJSON throws': { toJSON: refuse },
  'a proxy that refuses everything': hostile,
  'a revoked proxy': revoked,
  'an error whose getters throw': errorWith({
    stack: { get: refuse },
    name: { get: refuse },
    message: { get: refuse },
    cause: { get: refuse },
  }),
  'an error whose parts are no strings': errorWith({
    stack: { value: 5 },
    name: { value: Symbol('name') },
    message: { value: { toString: refuse } },
  }),
  'an error caused by itself': ouroboros,
  'an error caused by a proxy that refuses everything': new Error('outer', { cause: hostile }),
  'a huge error': new Error('x'.repeat(2_000_000)),
  'an error with NUL and half a character': new Error('a\0b\ud800c'),
  'an aggregate of a thousand errors': new AggregateError(
    Array.from({ length: 1_000 }, () => new Error('one')),
    'many',
  ),
};
const titles = Object.keys(thrown);

it.each([
  [
    'synchronously',
    (title: string) => {
      throw thrown[title];
    },
  ],
  ['as a rejection', (title: string) => Promise.reject(thrown[title])],
])('retries whatever is thrown %s, and stores it as bounded text', async (_how, fail) => {
  const Work = taskOf('work', (title: string, { attempt }) => (attempt === 1 ? fail(title) : undefined), {
    backoff: Backoff.none(),
  });
  const { tasks, events } = await bootApp([Work], { defaults: { retention: 'keepAll' } });
  const done = next(events, 'done', titles.length);
  const retrying = next(events, 'retrying', titles.length);
  const enqueued = await tasks.enqueueMany(Work, titles);
  await done;
  // Subscribers get the very value.
  const errors = new Map((await retrying).map((event) => [event.id, event.error]));
  for (const [index, { id }] of enqueued.entries()) {
    expect(Object.is(errors.get(id), thrown[titles[index]]), titles[index]).toBe(true);
    const task = await found(tasks, id);
    expect(task.attempts, titles[index]).toMatchObject([
      { number: 1, outcome: 'failed', error: { name: expect.any(String), message: expect.any(String) } },
      { number: 2, outcome: 'done' },
    ]);
    const stored = JSON.stringify(task.attempts[0].error);
    expect(stored.length, titles[index]).toBeLessThanOrEqual(16 * 1024);
    expect(stored.includes('\\u0000')).toBe(false);
    expect(stored.isWellFormed()).toBe(true);
  }
});

it('retries a handler that returns a thenable which throws', async () => {
  const Work = taskOf('work', (_payload, { attempt }) => attempt === 1 && new Proxy({}, { get: refuse }), {
    backoff: Backoff.none(),
  });
  const { tasks, events } = await bootApp([Work]);
  const done = next(events, 'done');
  await tasks.enqueue(Work);
  expect(await done).toMatchObject([{ attempt: 2 }]);
});
