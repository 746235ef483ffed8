import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodePayload } from '../../lib/engine/payload.js';
import type { NewTask, Task } from '../../lib/engine/task.js';
import type { Settlement } from '../../lib/engine/task-store.js';
import { areAlike } from '../../lib/typeorm/new-tasks.js';
import { bulkValues, newTasksJson, settlementJson } from '../../lib/typeorm/task-input.js';
import { claimedTask, shownTask } from '../../lib/typeorm/task-row.js';
import { newTask } from './engine.fixtures.js';

const text = fc.string({ unit: 'grapheme' });
const integer = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const nullable = <Value>(of: fc.Arbitrary<Value>) => fc.option(of, { nil: null });
const date = fc.date({ min: new Date(0), max: new Date('9999-12-31'), noInvalidDate: true });
const payload = fc.jsonValue({ stringUnit: 'grapheme' }).map((value): unknown => JSON.parse(JSON.stringify(value)));
/** As the driver gives it: every column as text. */
const columns = (...values: unknown[]) =>
  values.map((value) => {
    if (value === null) return null;
    if (value instanceof Date) return String(value.getTime());
    return typeof value === 'object' ? JSON.stringify(value) : String(value);
  });

describe('tasks to be enqueued', () => {
  const heads = fc.record({
    name: text,
    queue: text,
    priority: fc.integer({ min: -32_768, max: 32_767 }),
    maxRetries: nullable(integer),
    timeoutMs: nullable(integer),
    due: fc.oneof(
      integer.map((inMs) => ({ inMs })),
      date.map((at) => ({ at })),
    ),
    handTo: fc.option(fc.uuid(), { nil: undefined }),
  });
  const rows = fc.record({ id: fc.uuid(), uniqueKey: nullable(text), payload });

  it('are written as groups that together say all of each, in their order, payloads as they were encoded', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(heads, fc.array(rows, { minLength: 1, maxLength: 3 })), { maxLength: 4 }),
        (groups) => {
          const tasks = groups.flatMap(([head, members]) =>
            members.map((row) => newTask({ ...head, ...row, payload: encodePayload('work', row.payload) })),
          );
          const written = JSON.parse(newTasksJson(tasks)) as [unknown[], unknown[][]][];
          expect(written.flatMap(([head, members]) => members.map((row) => [...head, ...row]))).toEqual(
            tasks.map(({ id, queue, name, priority, uniqueKey, maxRetries, timeoutMs, due, handTo, payload: json }) => [
              queue,
              name,
              priority,
              maxRetries,
              timeoutMs,
              'inMs' in due ? due.inMs : null,
              'at' in due ? due.at.toISOString() : null,
              handTo ?? null,
              id,
              uniqueKey,
              JSON.parse(json),
            ]),
          );
          expect(written.length).toBeLessThanOrEqual(Math.max(1, tasks.length));
        },
      ),
    );
  });

  it('are alike when they differ in id and payload only, and are then written as columns', () => {
    fc.assert(
      fc.property(heads, fc.array(rows, { minLength: 1 }), fc.array(rows), heads, (head, members, others, other) => {
        const like = (part: typeof head, row: (typeof members)[number]) =>
          newTask({ ...part, ...row, uniqueKey: null, payload: encodePayload('work', row.payload), handTo: undefined });
        const tasks = members.map((row) => like(head, row));
        const [first] = tasks;
        if (!first) throw new Error('One row at least.');
        expect(areAlike(first, tasks)).toBe(true);
        const [ids, payloads, ...same] = bulkValues(first, tasks);
        expect(ids).toBe(`{${tasks.map(({ id }) => id).join(',')}}`);
        expect(JSON.parse(payloads as string)).toEqual(tasks.map(({ payload: json }) => JSON.parse(json) as unknown));
        const { queue, name, priority, maxRetries, timeoutMs, due } = head;
        const [inMs, at] = 'inMs' in due ? [due.inMs, null] : [null, due.at.toISOString()];
        expect(same).toEqual([queue, name, priority, maxRetries, timeoutMs, inMs, at]);
        const mixed = [...tasks, ...others.map((row) => like({ ...other, queue: `${queue}, another` }, row))];
        expect(areAlike(first, mixed)).toBe(others.length === 0);
      }),
    );
    const task = newTask({});
    const changes: Partial<NewTask>[] = [
      { queue: 'another' },
      { name: 'another' },
      { priority: 1 },
      { maxRetries: 0 },
      { timeoutMs: 1 },
      { due: { inMs: 1 } },
      { due: { at: new Date(0) } },
    ];
    for (const change of changes) {
      expect(areAlike(task, [task, newTask(change)]), JSON.stringify(change)).toBe(false);
      expect(JSON.parse(newTasksJson([task, newTask(change)])), JSON.stringify(change)).toHaveLength(2);
    }
    for (const special of [{ uniqueKey: 'key' }, { handTo: 'worker' }, { lane: 'lane' }, { expiresInMs: 1 }]) {
      expect(areAlike(task, [task, newTask(special)])).toBe(false);
      const alone = newTask(special);
      expect(areAlike(alone, [alone])).toBe(false);
    }
  });

  it('share one group when they differ in id, key and payload only', () => {
    const tasks = [1, 2, 3].map((n) => newTask({ name: 'a', due: { inMs: 0 }, uniqueKey: `${n}`, payload: `${n}` }));
    expect(JSON.parse(newTasksJson(tasks))).toHaveLength(1);
    expect(JSON.parse(newTasksJson([...tasks, newTask({ name: 'b', due: { inMs: 0 } })]))).toHaveLength(2);
  });
});

describe('a settlement', () => {
  const claim = { id: 'id', queue: 'default', claimSeq: 3 };
  const attempt = { number: 2, outcome: 'failed', error: { name: 'Error', message: 'no' } } as const;

  it.each<[string, Settlement, unknown[]]>([
    [
      'that is done',
      { ...claim, kind: 'finish', state: 'done', keepMs: null, attempt: null },
      ['id', 'default', 3, 'done', 0, null, null],
    ],
    [
      'that failed',
      { ...claim, kind: 'finish', state: 'failed', keepMs: Infinity, attempt },
      ['id', 'default', 3, 'failed', 'Infinity', null, attempt],
    ],
    [
      'to be retried',
      { ...claim, kind: 'retry', delayMs: 250, attempt },
      ['id', 'default', 3, null, null, 250, attempt],
    ],
    [
      'that becomes a dead letter',
      { ...claim, kind: 'finish', state: 'failed', keepMs: Infinity, attempt, deadLetter: 'dead' },
      ['id', 'default', 3, 'failed', 'Infinity', null, attempt, 'dead'],
    ],
    [
      'that was snoozed',
      { ...claim, kind: 'snooze', delayMs: 250, attempt: { number: 2, outcome: 'snoozed' } },
      ['id', 'default', 3, null, null, 250, { number: 2, outcome: 'snoozed' }],
    ],
    ['to be released', { ...claim, kind: 'release' }, ['id', 'default', 3, null, null, null, null]],
  ])('%s is written as one JSON array', (_, settlement, row) => {
    expect(JSON.parse(settlementJson(settlement))).toEqual(row);
  });
});

describe('a row', () => {
  it('of claim becomes a claimed task', () => {
    const fields = fc.record({
      id: fc.uuid(),
      name: text,
      payload,
      priority: fc.integer({ min: -32_768, max: 32_767 }),
      attempt: fc.oneof(fc.constant(1), integer),
      retries: integer,
      maxRetries: nullable(integer),
      timeoutMs: nullable(integer),
      claimSeq: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
      createdAt: fc.integer({ min: 0, max: 3 }),
      scheduledAt: fc.integer({ min: 0, max: 3 }),
      crashes: integer,
      expiresInMs: nullable(integer),
      lane: nullable(text),
    });
    fc.assert(
      fc.property(text, fields, (queue, task) => {
        const { id, name, priority, attempt, retries, maxRetries, timeoutMs, claimSeq, createdAt, scheduledAt } = task;
        const unless = (usual: number, value: number) => (value === usual ? null : value);
        const row = [
          ...columns(id, name),
          JSON.stringify(task.payload),
          ...columns(
            createdAt * 1_000,
            unless(createdAt * 1_000, scheduledAt * 1_000),
            unless(0, priority),
            unless(1, attempt),
            unless(1, claimSeq),
            unless(0, retries),
            unless(0, task.crashes),
            maxRetries,
            timeoutMs,
            task.expiresInMs,
            task.lane,
          ),
        ];
        expect(claimedTask(queue, row)).toEqual({ ...task, queue });
      }),
    );
  });

  it('of find becomes the task that is shown', () => {
    const attempt = fc.record({
      number: integer,
      outcome: fc.constantFrom('failed' as const, 'timedOut' as const, 'cancelled' as const, 'crashed' as const),
      workerId: fc.uuid(),
      startedAt: date,
      finishedAt: date,
      error: fc.record({ name: text, message: text }),
    });
    const fields: fc.Arbitrary<Task> = fc.record({
      id: fc.uuid(),
      name: text,
      queue: text,
      state: fc.constantFrom('ready', 'running', 'done', 'failed', 'cancelled'),
      payload,
      priority: fc.integer({ min: -32_768, max: 32_767 }),
      uniqueKey: nullable(text),
      concurrencyKey: nullable(text),
      attempt: integer,
      retries: integer,
      maxRetries: nullable(integer),
      timeoutMs: nullable(integer),
      crashes: integer,
      claimSeq: integer,
      workerId: nullable(fc.uuid()),
      createdAt: date,
      scheduledAt: date,
      startedAt: nullable(date),
      finishedAt: nullable(date),
      expiresAt: nullable(date),
      reason: nullable(fc.constant('expired' as const)),
      attempts: fc.array(attempt, { maxLength: 3 }),
      result: fc.constant(undefined),
      deadFrom: nullable(text),
    });
    fc.assert(
      fc.property(fields, (task) => {
        const attempts = task.attempts.map((one) => ({
          ...one,
          startedAt: one.startedAt.getTime(),
          finishedAt: one.finishedAt.getTime(),
        }));
        const row = [
          ...columns(task.state, task.workerId, task.finishedAt, task.id, task.queue, task.name, task.priority),
          ...columns(task.scheduledAt, task.claimSeq, task.attempt, task.retries, task.crashes, task.maxRetries),
          ...columns(task.timeoutMs, task.createdAt, task.startedAt, task.uniqueKey),
          JSON.stringify(task.payload),
          JSON.stringify(attempts),
          ...columns(task.expiresAt, task.reason, task.concurrencyKey),
          null,
          null,
          task.deadFrom,
        ];
        expect(shownTask(row)).toEqual(task);
      }),
    );
  });

  it('of a done task shows the attempt that succeeded, of which nothing was written down, and its result', () => {
    const row = [
      ...columns('done', null, 2_000, 'id', 'default', 'work', 0, 500, 3, 2, 1, 0, null, null, 400, 1_000, null, {}),
      ...columns(
        [{ number: 1, outcome: 'failed', workerId: 'one', startedAt: 600, finishedAt: 700 }],
        null,
        null,
        null,
        'two',
      ),
      '{"rows":7}',
      null,
    ];
    expect(shownTask(row)).toMatchObject({
      attempts: [
        { number: 1, outcome: 'failed' },
        { number: 2, outcome: 'done', workerId: 'two', startedAt: new Date(1_000), finishedAt: new Date(2_000) },
      ],
      result: { rows: 7 },
    });
  });
});
