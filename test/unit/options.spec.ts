import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Backoff, longestWaitMs } from '../../lib/engine/backoff.js';
import { InvalidOptionsError } from '../../lib/errors/configuration.errors.js';
import type { BackieModuleOptions } from '../../lib/interfaces/backie-module-options.interface.js';
import { checkBulkFilter, checkFilter, checkPage } from '../../lib/options/check-filter.js';
import { checkEnqueueOptions, checkTaskOptions } from '../../lib/options/check-task-options.js';
import { checkTimes } from '../../lib/options/check-unique.js';
import { checkName, checkOptions, integer, maxTimerMs, shown } from '../../lib/options/checks.js';
import { resolveOptions } from '../../lib/options/resolve-options.js';

const resolve = (options: object, instance = 'default') => resolveOptions(options as BackieModuleOptions, instance);

/** Each checker of options, with the way to give it one option. */
const checkers = {
  module: (key: string, value: unknown) => resolve({ [key]: value }),
  defaults: (key: string, value: unknown) => resolve({ defaults: { [key]: value } }),
  queue: (key: string, value: unknown) => resolve({ queues: [{ name: 'mail', [key]: value }] }),
  task: (key: string, value: unknown) => checkTaskOptions('work', { [key]: value }),
  enqueue: (key: string, value: unknown) => checkEnqueueOptions('enqueue', { [key]: value }),
  enqueueMany: (key: string, value: unknown) => checkEnqueueOptions('enqueueMany', { [key]: value }),
  filter: (key: string, value: unknown) => checkFilter({ [key]: value }),
  page: (key: string, value: unknown) => checkPage({ [key]: value }),
};
type Checker = keyof typeof checkers;

const long = (length: number) => 'x'.repeat(length);
const notTexts = ['', 1, null, {}, 'a\0', '\uD800'];
const notNumbers = [Number.NaN, Infinity, -Infinity, '1', null, {}, 1n];
const notObjects = ['x', 1, null, true];
const notBooleans = ['true', 1, 0, null];
const validator = { '~standard': { version: 1, vendor: 'test', validate: (value: unknown) => ({ value }) } };
const names = { good: ['a', 'ä ö', long(128)], bad: [...notTexts, long(129)] };
const keys = { good: ['a', long(255)], bad: [...notTexts, long(256)] };
const retries = { good: [0, 1_000_000], bad: [...notNumbers, -1, 1_000_001, 1.5] };
const timeouts = { good: [1, 1.5, maxTimerMs], bad: [...notNumbers, 0, 0.5, maxTimerMs + 1] };
const expiries = { good: [1, 0.5 + 1, longestWaitMs], bad: [...notNumbers, 0, -1, longestWaitMs + 1] };
const priorities = { good: [-32_768, 0, 32_767], bad: [...notNumbers, -32_769, 32_768, 0.5] };
const concurrencies = { good: [1, 100_000], bad: [...notNumbers, 0, 100_001, 1.5] };
const polls = { good: [10, maxTimerMs], bad: [...notNumbers, 9, maxTimerMs + 1] };
const retentions = {
  good: [
    'keepAll',
    'removeAll',
    'removeDone',
    {},
    { done: 1, failed: 'forever', cancelled: 'none' },
    { failed: 3_650 * 86_400_000, done: undefined },
  ],
  bad: [
    'removedone',
    'none',
    null,
    1,
    [],
    ['keepAll'],
    ...[0, -1, '1', 'keepAll', null, Number.NaN, Infinity, 3_650 * 86_400_000 + 1, {}].map((done) => ({ done })),
    { ready: 1 },
    { Done: 1 },
  ],
};
const backoffs = {
  good: [Backoff.none(), Backoff.fixed(1), Backoff.linear(1), Backoff.exponential(), () => 1],
  bad: [1_000, 'exponential', null, {}, { kind: 'never' }],
};
const schedules = {
  good: [
    new Date(),
    '2030-01-01',
    '2030-01-01T12:00:00.000Z',
    new Date('0001-01-01T00:00:00Z'),
    '9999-12-31T23:59:59.999Z',
  ],
  // PostgreSQL reads no other years in this form.
  bad: [
    new Date(Number.NaN),
    'soon',
    1_900_000_000_000,
    null,
    {},
    new Date('+010000-01-01T00:00:00Z'),
    new Date('0000-12-31T23:59:59Z'),
    new Date(8.64e15),
    new Date(-8.64e15),
  ],
};

const options: [Checker, string, { readonly good: readonly unknown[]; readonly bad: readonly unknown[] }][] = [
  ['module', 'dataSource', { good: [{}], bad: notObjects }],
  ['module', 'connection', { good: ['postgres://localhost/db', { host: 'localhost' }], bad: ['', 1, null, true] }],
  ['module', 'store', { good: [{}], bad: notObjects }],
  ['module', 'embedded', { good: [{}, { dataDir: '/tmp/x' }], bad: [...notObjects, { dataDir: 1 }, { datadir: 'x' }] }],
  ['module', 'schema', { good: ['backie', 'My "schema"', long(63)], bad: [...notTexts, long(64)] }],
  ['module', 'migrations', { good: ['run', 'check', 'off'], bad: [true, false, 'yes', null] }],
  ['module', 'connectTimeoutMs', { good: [0, maxTimerMs], bad: [...notNumbers, -1, maxTimerMs + 1] }],
  ['module', 'workers', { good: [true, false], bad: notBooleans }],
  ['module', 'queues', { good: [[], [{ name: 'a' }]], bad: [{}, 'a', null, ['a'], [null], [{}], [{ name: '' }]] }],
  ['module', 'defaults', { good: [{}], bad: [...notObjects, []] }],
  ['module', 'leaseMs', { good: [100, 30_000, maxTimerMs], bad: [...notNumbers, 99, maxTimerMs + 1] }],
  ['module', 'heartbeatMs', { good: [10, 15_000], bad: [...notNumbers, 9, 15_001, maxTimerMs + 1] }],
  ['module', 'shutdownGraceMs', { good: [0, maxTimerMs], bad: [...notNumbers, -1, maxTimerMs + 1] }],
  ['module', 'maxCrashes', { good: [1, 1_000_000], bad: [...notNumbers, 0, 1.5, 1_000_001] }],
  ['module', 'maxPayloadBytes', { good: [1, 2 ** 28], bad: [...notNumbers, 0, 1.5, 2 ** 28 + 1] }],
  ['defaults', 'maxRetries', retries],
  ['defaults', 'backoff', backoffs],
  ['defaults', 'timeoutMs', timeouts],
  ['defaults', 'priority', priorities],
  ['defaults', 'concurrency', concurrencies],
  ['defaults', 'pollIntervalMs', polls],
  ['defaults', 'retention', retentions],
  ['queue', 'name', names],
  ['queue', 'concurrency', concurrencies],
  ['queue', 'pollIntervalMs', polls],
  ['queue', 'retention', retentions],
  ['queue', 'executionTimeoutMs', timeouts],
  ['task', 'queue', names],
  ['task', 'maxRetries', retries],
  ['task', 'backoff', backoffs],
  ['task', 'timeoutMs', timeouts],
  ['task', 'priority', priorities],
  ['task', 'unique', { good: [true, false, () => 'key'], bad: ['key', 1, null, {}, []] }],
  ['task', 'expiresInMs', expiries],
  ['task', 'schema', { good: [validator, Object.assign(() => {}, validator)], bad: [{}, () => {}, null, 'string'] }],
  ['task', 'instance', names],
  ['enqueue', 'manager', { good: [{}], bad: notObjects }],
  ['enqueue', 'delayMs', { good: [0, 0.5, longestWaitMs], bad: [...notNumbers, -1, longestWaitMs + 1] }],
  ['enqueue', 'scheduledAt', schedules],
  ['enqueue', 'queue', names],
  ['enqueue', 'priority', priorities],
  ['enqueue', 'maxRetries', retries],
  ['enqueue', 'timeoutMs', timeouts],
  ['enqueue', 'uniqueKey', keys],
  ['enqueue', 'unique', { good: [{ key: 'k' }], bad: ['key', true, () => 'k', null, [], {}, { key: true }] }],
  ['enqueue', 'expiresInMs', expiries],
  ['enqueueMany', 'expiresInMs', expiries],
  ['enqueueMany', 'scheduledAt', schedules],
  ['enqueueMany', 'uniqueKey', { good: [], bad: ['a'] }],
  ['filter', 'queue', names],
  ['filter', 'name', names],
  [
    'filter',
    'state',
    {
      good: ['ready', 'running', 'done', 'failed', 'cancelled', [], ['ready', 'failed']],
      bad: ['Ready', null, 1, ['ready', 'gone'], [undefined], [['ready']]],
    },
  ],
  ['filter', 'uniqueKey', keys],
  ['page', 'limit', { good: [1, 1_000], bad: [...notNumbers, 0, 1_001, 1.5] }],
  ['page', 'order', { good: ['newestFirst', 'oldestFirst'], bad: ['newest', null] }],
];

describe('options', () => {
  it.each(options)('of %s: %s takes what is in its range and refuses all else', (checker, key, { good, bad }) => {
    for (const value of [...good, undefined].filter((value) => key !== 'name' || value !== undefined)) {
      if (checker === 'enqueueMany' && key === 'uniqueKey') break;
      expect(() => checkers[checker](key, value), `${key}: ${shown(value)}`).not.toThrow();
    }
    for (const value of bad) {
      expect(() => checkers[checker](key, value), `${key}: ${shown(value)}`).toThrow(InvalidOptionsError);
    }
  });

  it.each<[Checker, string, string]>([
    ['module', 'leaseMS', 'BackieModule: there is no option "leaseMS". Did you mean "leaseMs"?'],
    ['module', 'queue', 'BackieModule: there is no option "queue". Did you mean "queues"?'],
    [
      'queue',
      'concurency',
      `BackieModule's queue "mail": there is no option "concurency". Did you mean "concurrency"?`,
    ],
    ['task', 'retries', '@BackgroundTask("work"): there is no option "retries". Did you mean "maxRetries"?'],
    ['enqueue', 'delay', 'TaskQueue.enqueue: there is no option "delay". Did you mean "delayMs"?'],
    [
      'enqueueMany',
      'shedulledAt',
      'TaskQueue.enqueueMany: there is no option "shedulledAt". Did you mean "scheduledAt"?',
    ],
    ['page', 'cursorPosition', 'there is no option "cursorPosition". Options: limit, after, order.'],
    ['task', 'toString', '@BackgroundTask("work"): there is no option "toString".'],
    ['task', '__proto__x', 'there is no option "__proto__x"'],
  ])('of %s: %s is unknown, and the one that was meant is named', (checker, key, message) => {
    expect(() => checkers[checker](key, 1)).toThrow(InvalidOptionsError);
    expect(() => checkers[checker](key, 1)).toThrow(message);
  });

  it('names the option that one or two typos have changed', () => {
    const known = ['maxRetries', 'timeoutMs', 'priority', 'scheduledAt'];
    const checks = Object.fromEntries(known.map((key) => [key, integer(0, 1)]));
    const typo = fc.tuple(fc.constantFrom(...known), fc.nat(8), fc.constantFrom('x', ''), fc.constantFrom('y', ''));
    fc.assert(
      fc.property(typo, ([key, at, insert, append]) => {
        const typed = key.slice(0, at) + insert + key.slice(at + 1) + append;
        fc.pre(!known.includes(typed));
        expect(() => checkOptions('here', { [typed]: 1 }, checks)).toThrow(`Did you mean "${key}"?`);
      }),
    );
  });

  it.each([null, 'text', 1, []])('must be an object, not %j', (options) => {
    expect(() => checkOptions('here', options, {})).toThrow('here: options must be an object, not ');
    expect(() => checkTaskOptions('work', options)).toThrow(InvalidOptionsError);
  });

  it('say in their message what was given, never at length', () => {
    expect(shown(long(1_000)).length).toBeLessThan(100);
    expect([1n, null, undefined, () => 1, [], {}, Symbol('s'), 'a', new Date(0), new Date('soon')].map(shown)).toEqual([
      '1n',
      'null',
      'undefined',
      'a function',
      'an array',
      'an object',
      'Symbol(s)',
      '"a"',
      '1970-01-01T00:00:00.000Z',
      'an invalid Date',
    ]);
    expect(() => checkName('A name', 5, 128)).toThrow(
      'A name must be a string of 1 to 128 characters that PostgreSQL can store, not 5.',
    );
    expect(() => resolve({ leaseMs: 5 })).toThrow(
      `BackieModule: leaseMs must be a number of milliseconds from 100 to ${maxTimerMs}, not 5.`,
    );
  });
});

describe('an option that stands within another', () => {
  it.each([
    [
      { isolation: 'DIRTY' },
      'isolation must be one of "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", not "DIRTY".',
    ],
    [{ isolation: 7 }, ', not 7.'],
    [{ isolation: null }, ', not null.'],
    [{ isolationLevel: 'SERIALIZABLE' }, 'there is no option "isolationLevel". Did you mean "isolation"?'],
    [[], 'transactional must be true, false or { isolation }, not an array.'],
    [null, 'transactional must be true, false or { isolation }, not null.'],
  ])('is shown with its value: transactional %j', (transactional, message) => {
    const declare = () => checkTaskOptions('work', { transactional });
    expect(declare).toThrow(InvalidOptionsError);
    expect(declare).toThrow('@BackgroundTask("work"): transactional');
    expect(declare).toThrow(message);
  });

  it.each([
    [new Date(Number.NaN), 'before must be a valid Date, not an invalid Date.'],
    ['2030-01-01', 'before must be a valid Date, not "2030-01-01".'],
    [1_900_000_000_000, 'before must be a valid Date, not 1900000000000.'],
    [null, 'before must be a valid Date, not null.'],
  ])('is shown with its value: before %j of a filter', (before, message) => {
    expect(() => checkBulkFilter('removeMany', { before })).toThrow(InvalidOptionsError);
    expect(() => checkBulkFilter('removeMany', { before })).toThrow(`TaskQueue.removeMany, filter: ${message}`);
  });

  it.each([
    [{ concurrency: 0 }, 'concurrency must be an integer from 1 to 100000, not 0.'],
    [{ globalConcurrency: 0 }, 'globalConcurrency must be an integer from 1 to 1000000, not 0.'],
    [{ pollIntervalMs: 0 }, 'pollIntervalMs must be'],
    [{ executionTimeoutMs: 0 }, 'executionTimeoutMs must be'],
    [{ retention: 'keepDone' }, 'retention must be'],
    [{ rateLimit: 5 }, 'rateLimit must be an object, not 5.'],
    [{ rateLimit: { max: 0, perMs: 1 } }, 'rateLimit: max must be an integer from 1 to 1000000, not 0.'],
  ])('is shown with the queue that it is of: %j', (options, message) => {
    const configure = () => resolve({ queues: [{ name: 'fine' }, { name: 'mail', ...options }] });
    expect(configure).toThrow(InvalidOptionsError);
    expect(configure).toThrow(`BackieModule's queue "mail": ${message}`);
  });

  it('is shown with all queues when its own has no name that could be one', () => {
    expect(() => resolve({ queues: [{ name: '', concurrency: 0 }] })).toThrow("BackieModule's queues: ");
    expect(() => resolve({ queues: [{ concurrency: 0 }] })).toThrow("BackieModule's queues: ");
    expect(() => resolve({ queues: [null] })).toThrow("BackieModule's queues: options must be an object, not null.");
  });
});

describe('the rules of a unique task', () => {
  const declare = (unique: object, more: object = {}) => checkTaskOptions('work', { unique, ...more });
  const key = () => 'k';

  it.each<object>([
    { key: true },
    { key },
    { key, scope: 'live' },
    { key, scope: 'waiting', onConflict: 'replace' },
    { key, within: 1 },
    { key, within: longestWaitMs, onConflict: 'replace' },
    { key, within: 5, onConflict: 'debounce' },
    { key, within: 5, onConflict: 'debounce', scope: 'waiting' },
  ])('may be %o', (unique) => {
    expect(() => declare(unique)).not.toThrow();
  });

  it.each<[object, string]>([
    [{}, 'unique has no key'],
    [{ key: 'k' }, 'unique: key must be true or a function (payload) => key, not "k"'],
    [{ key, keys: 1 }, 'unique: there is no option "keys". Did you mean "key"?'],
    [{ key, withinMs: 5 }, 'Did you mean "within"?'],
    [{ key, within: 0 }, 'unique: within must be a number of milliseconds from 1'],
    [{ key, within: -5 }, 'not -5'],
    [{ key, within: '5' }, 'not "5"'],
    [{ key, within: longestWaitMs + 1 }, 'unique: within must be'],
    [{ key, scope: 'running' }, 'unique: scope must be one of "live", "waiting", not "running"'],
    [{ key, onConflict: 'drop' }, 'unique: onConflict must be one of "keep", "replace", "debounce", not "drop"'],
    [{ key, onConflict: 'debounce' }, "unique: onConflict 'debounce' needs within"],
    [{ key, onConflict: 'debounce', within: 5, scope: 'live' }, "drop scope 'live'"],
    [{ key, within: 5, scope: 'waiting' }, 'unique: scope and within both say for how long the key is held'],
  ])('may not be %o', (unique, message) => {
    expect(() => declare(unique)).toThrow(InvalidOptionsError);
    expect(() => declare(unique)).toThrow(message);
  });

  it('go with the times of the task', () => {
    const debounce = { key, within: 1_000, onConflict: 'debounce' };
    expect(() => declare(debounce, { expiresInMs: 1_001 })).not.toThrow();
    expect(() => declare(debounce, { expiresInMs: 1_000 })).toThrow('or it would expire before it may start');
    expect(() => declare(debounce, { cron: '@daily' })).toThrow('and so does cron');
    const times = (options: object) => checkTimes('here', options);
    expect(() => times({ expiresInMs: 5, delayMs: 4 })).not.toThrow();
    expect(() => times({ expiresInMs: 5, delayMs: 5 })).toThrow(InvalidOptionsError);
    expect(() => times({ expiresInMs: 5, scheduledAt: new Date(Date.now() + 60_000) })).toThrow(InvalidOptionsError);
    expect(() => times({ expiresInMs: 5, scheduledAt: new Date(0) })).not.toThrow();
  });

  it('are given by the call once', () => {
    const both = { unique: { key: 'k' }, uniqueKey: 'k' };
    expect(() => checkEnqueueOptions('enqueue', both)).toThrow('give either unique or uniqueKey, not both');
    expect(() => checkEnqueueOptions('enqueueMany', { unique: { key: 'k' } })).toThrow('there is no option "unique"');
  });
});

describe("the module's options", () => {
  it('have a default each', () => {
    expect(resolve({})).toEqual({
      instance: 'default',
      source: { dataSource: undefined, connection: undefined, store: undefined, embedded: undefined },
      schema: 'backie',
      migrations: 'run',
      connectTimeoutMs: 30_000,
      workers: true,
      queues: [
        {
          name: 'default',
          concurrency: 10,
          pollIntervalMs: 1_000,
          retention: 'removeDone',
          executionTimeoutMs: 120_000,
        },
      ],
      leaseMs: 30_000,
      heartbeatMs: 10_000,
      shutdownGraceMs: 25_000,
      maxCrashes: 3,
      maxPayloadBytes: 1_048_576,
      retention: 'removeDone',
      task: { maxRetries: 3, backoff: Backoff.exponential(), priority: 0 },
    });
  });

  it('may be replaced one by one, undefined being the default', () => {
    expect(resolve({ leaseMs: undefined, workers: false, maxCrashes: 5 })).toMatchObject({
      leaseMs: 30_000,
      workers: false,
      maxCrashes: 5,
    });
  });

  it('take the defaults for queues and tasks that say nothing themselves', () => {
    const defaults = {
      concurrency: 2,
      pollIntervalMs: 50,
      retention: 'keepAll',
      timeoutMs: 7,
      maxRetries: 1,
      priority: 9,
    };
    const own = { name: 'mail', concurrency: 4, pollIntervalMs: 60, retention: 'removeAll', executionTimeoutMs: 8 };
    const resolved = resolve({ defaults, queues: [own] });
    expect(resolved.queues).toEqual([
      { name: 'default', concurrency: 2, pollIntervalMs: 50, retention: 'keepAll', executionTimeoutMs: 7 },
      { ...own, limits: { globalConcurrency: null, rateLimit: null } },
    ]);
    expect(resolved).toMatchObject({ retention: 'keepAll', task: { maxRetries: 1, priority: 9 } });
  });

  it('always contain the queue "default", as it is configured', () => {
    expect(resolve({ queues: [{ name: 'a' }] }).queues.map(({ name }) => name)).toEqual(['default', 'a']);
    const queues = [{ name: 'a' }, { name: 'default', concurrency: 1 }];
    expect(resolve({ queues }).queues).toMatchObject([{ name: 'a' }, { name: 'default', concurrency: 1 }]);
  });

  it('refuse a queue that is configured twice', () => {
    expect(() => resolve({ queues: [{ name: 'a' }, { name: 'a' }] })).toThrow('the queue "a" is configured twice');
  });

  it('renew a short lease at least three times', () => {
    expect(resolve({ leaseMs: 900 }).heartbeatMs).toBe(300);
    expect(resolve({ leaseMs: 900, heartbeatMs: 450 }).heartbeatMs).toBe(450);
    expect(() => resolve({ leaseMs: 900, heartbeatMs: 451 })).toThrow(
      'heartbeatMs (451) must be at most half of leaseMs (900)',
    );
  });

  it('name one database, not two', () => {
    expect(() => resolve({ dataSource: {}, connection: 'postgres://localhost/db' })).toThrow(
      'give either dataSource or connection, not both',
    );
  });

  it('give a named instance a schema of its own', () => {
    expect(resolve({}, 'billing')).toMatchObject({ instance: 'billing', schema: 'backie_billing' });
    expect(resolve({ schema: 'mine' }, 'billing').schema).toBe('mine');
    expect(() => resolve({}, '')).toThrow(`BackieModule's name must be a string`);
  });
});
