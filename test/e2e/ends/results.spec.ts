import { randomUUID } from 'node:crypto';
import {
  type CurrentTask,
  InvalidOptionsError,
  InvalidResultError,
  MemoryTaskStore,
  ResultNotKeptError,
  ResultTimeoutError,
  StoreClosedError,
  TaskCancelledError,
  TaskFailedError,
  TaskNotFoundError,
  UnrecoverableTaskError,
} from 'nestjs-backie';
import { expect, it, vi } from 'vitest';
import { startWorker } from '../../fixtures/worker-process.js';
import { bootApp, freshSchema, next, openDataSource, sql } from '../../support/app.js';
import { backends } from '../../support/backends.js';
import { deferred, forever, found, taskOf, until } from '../../support/tasks.js';

const keep = { keepResult: true };

it('gives what the handler returned, as JSON brings it back', async () => {
  const at = new Date('2030-01-01T00:00:00Z');
  const Work = taskOf('work', () => ({ at, rows: [1, null], left: undefined }), keep);
  const { tasks } = await bootApp([Work]);
  const { id } = await tasks.enqueue(Work);
  const expected = { at: at.toJSON(), rows: [1, null] };
  expect(await tasks.result(id)).toEqual(expected);
  // It stays, so that it can be asked for again.
  expect(await tasks.result(Work, id)).toEqual(expected);
  expect(await found(tasks, id)).toMatchObject({ state: 'done', result: expected, attempts: [{ outcome: 'done' }] });
});

it('stores what any task returned on a queue that keeps all, and nothing where it is told not to', async () => {
  const [All, None] = [taskOf('all', () => 7), taskOf('none', () => 8, { keepResult: false })];
  const { tasks, events } = await bootApp([All, None], { defaults: { retention: 'keepAll' } });
  const dones = next(events, 'done', 2);
  const [all, none] = [await tasks.enqueue(All), await tasks.enqueue(None)];
  expect(await tasks.result(all.id)).toBe(7);
  await dones;
  expect((await found(tasks, none.id)).result).toBeUndefined();
  await expect(tasks.result(none.id)).rejects.toThrow(ResultNotKeptError);
});

it('gives undefined for a handler that returns nothing, and null for one that returns null', async () => {
  const [Nothing, Null] = [taskOf('nothing', () => {}, keep), taskOf('null', () => null, keep)];
  const { tasks } = await bootApp([Nothing, Null]);
  expect(await tasks.result((await tasks.enqueue(Nothing)).id)).toBeUndefined();
  expect(await tasks.result((await tasks.enqueue(Null)).id)).toBeNull();
});

it('keeps a done task for a day where its queue keeps none, and as long as its queue says otherwise', async () => {
  const Work = taskOf('work', () => 1, keep);
  const queues = [{ name: 'short', retention: { done: 60_000 } }];
  const { tasks, schema } = await bootApp([Work], { queues, defaults: { retention: 'removeAll' } });
  const daySeconds = 86_400;
  for (const [queue, seconds] of [
    ['default', daySeconds],
    ['short', 60],
  ] as const) {
    const { id } = await tasks.enqueue(Work, null, { queue });
    await tasks.result(id);
    const [row] = await sql<{ stays: string }>(
      `SELECT extract(epoch FROM kept_until - finished_at) AS stays FROM "${schema}".finished_task WHERE id = $1`,
      [id],
    );
    expect(Number(row.stays)).toBe(seconds);
  }
});

it.each([
  ['circular', () => Object.assign([], { 0: globalThis }), /cannot be stored/],
  ['too large', () => 'x'.repeat(2_000), /takes 2002 bytes, the limit is 1000/],
] as const)('fails a task at once whose result is %s', async (_, run, message) => {
  let runs = 0;
  const Work = taskOf('work', () => (runs++, run()), keep);
  const { tasks, events } = await bootApp([Work], { maxPayloadBytes: 1_000 });
  const failed = next(events, 'failed');
  const { id } = await tasks.enqueue(Work);
  const error: unknown = await tasks.result(id).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(TaskFailedError);
  expect(error).toMatchObject({ id, error: { name: 'InvalidResultError', message: expect.stringMatching(message) } });
  expect((await failed)[0].error).toBeInstanceOf(InvalidResultError);
  expect(runs).toBe(1);
});

it('fails with the error of the last attempt, its stack and its cause', async () => {
  const Work = taskOf('work', () => Promise.reject(new TypeError('no', { cause: new RangeError('why') })), {
    ...keep,
    maxRetries: 0,
  });
  const { tasks } = await bootApp([Work], { defaults: { retention: 'removeAll' } });
  const { id } = await tasks.enqueue(Work);
  const error: unknown = await tasks.result(id).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(TaskFailedError);
  expect(error).toMatchObject({
    message: expect.stringContaining('TypeError: no'),
    error: { name: 'TypeError', stack: expect.stringContaining('results.spec'), cause: { name: 'RangeError' } },
  });
});

it('fails when the task is cancelled, while it is ready and while it runs', async () => {
  const Work = taskOf('work', forever, keep);
  const { tasks, events } = await bootApp([Work], { shutdownGraceMs: 0 });
  const waiting = await tasks.enqueue(Work, null, { delayMs: 60_000 });
  const started = next(events, 'started');
  const running = await tasks.enqueue(Work);
  await started;
  for (const { id } of [waiting, running]) {
    const result = tasks.result(id);
    const refused = expect(result).rejects.toThrow(TaskCancelledError);
    await tasks.cancel(id);
    await refused;
  }
});

it('fails at once for a task that keeps no result, where that is known', async () => {
  const Work = taskOf('work', forever);
  const { tasks, schema } = await bootApp([Work], { shutdownGraceMs: 0 });
  const { id } = await tasks.enqueue(Work);
  await expect(tasks.result(id)).rejects.toThrow(ResultNotKeptError);
  await expect(tasks.result(Work, id)).rejects.toThrow('keepResult: true');
  // Who does not run it does not know: it waits.
  const other = await bootApp([], { schema, workers: false });
  await expect(other.tasks.result(id, { timeoutMs: 50 })).rejects.toThrow(ResultTimeoutError);
});

it.each([
  ['declares keepResult: false', { keepResult: false }, 'keepAll'],
  ['runs on a queue that keeps no done task', {}, 'removeDone'],
  ['runs on a queue that keeps nothing', { queue: 'other' }, 'removeAll'],
] as const)('is refused alike at any time for the class of a task that %s', async (_, options, retention) => {
  const Work = taskOf(
    'work',
    (end: string) => {
      if (end === 'failed') throw new UnrecoverableTaskError('no');
      return end === 'runs' ? forever() : 7;
    },
    options,
  );
  const { tasks, events } = await bootApp([Work], {
    defaults: { retention },
    queues: [{ name: 'other' }],
    shutdownGraceMs: 0,
  });
  const expectRefusal = (id: string) => expect(tasks.result(Work, id), id).rejects.toThrow(ResultNotKeptError);
  const waiting = await tasks.enqueue(Work, 'done', { delayMs: 60_000 });
  await expectRefusal(waiting.id);
  await tasks.cancel(waiting.id);
  await expectRefusal(waiting.id);
  for (const end of ['done', 'failed'] as const) {
    const ended = next(events, end);
    const { id } = await tasks.enqueue(Work, end);
    await ended;
    await expectRefusal(id);
  }
  const started = next(events, 'started');
  const { id } = await tasks.enqueue(Work, 'runs');
  await started;
  await expectRefusal(id);
  await expectRefusal(randomUUID());
});

it('gives what is kept of a class whose own queue keeps nothing, and does not know what it cannot know', async () => {
  const Work = taskOf('work', () => 7);
  const { tasks, events, schema } = await bootApp([Work], { queues: [{ name: 'kept', retention: 'keepAll' }] });
  const kept = next(events, 'done');
  const { id } = await tasks.enqueue(Work, null, { queue: 'kept' });
  expect(await tasks.result(Work, id)).toBe(7);
  expect(await tasks.result(Work, id)).toBe(7);
  // The result may be read before its worker hears that it is written.
  await kept;
  // By an id alone nothing is known of a task that is gone.
  const done = next(events, 'done');
  const gone = await tasks.enqueue(Work);
  await done;
  await expect(tasks.result(gone.id)).rejects.toThrow(TaskNotFoundError);
  // Who does not work does not know what a queue keeps.
  const other = await bootApp([], { schema, workers: false });
  await expect(other.tasks.result(Work, gone.id)).rejects.toThrow(TaskNotFoundError);
});

it('fails when the task has vanished, and for one that is not there', async () => {
  const end = deferred();
  const Work = taskOf('work', () => end.promise);
  const { schema, events } = await bootApp([Work]);
  const { tasks } = await bootApp([], { schema, workers: false });
  const started = next(events, 'started');
  const { id } = await tasks.enqueue('work');
  await started;
  const result = tasks.result(id);
  const refused = expect(result).rejects.toThrow(ResultNotKeptError);
  await until(
    () => sql<{ awaited: boolean }>(`SELECT awaited FROM "${schema}".task`),
    ([row]) => row.awaited,
  );
  end.resolve();
  await refused;
  for (const unknown of [id, randomUUID(), "'; DROP TABLE task; --"]) {
    await expect(tasks.result(unknown)).rejects.toThrow(TaskNotFoundError);
  }
});

it('refuses bad input: options, an id that is none, a class of another task', async () => {
  const [One, Other] = [taskOf('one', () => 1, keep), taskOf('other', () => 2, keep)];
  const { tasks } = await bootApp([One, Other]);
  const { id } = await tasks.enqueue(One);
  await expect(tasks.result(id, { timeoutMs: 0 })).rejects.toThrow(InvalidOptionsError);
  await expect(tasks.result(id, { timeOutMs: 1 } as never)).rejects.toThrow('Did you mean "timeoutMs"?');
  await expect(tasks.result(undefined as never)).rejects.toThrow(InvalidOptionsError);
  await expect(tasks.result(Other, id)).rejects.toThrow(/is a "one", not a "other"/);
  expect(await tasks.result(One, id)).toBe(1);
});

it('waits no longer than it is told to; the task goes on', async () => {
  const end = deferred<number>();
  const Work = taskOf('work', () => end.promise, keep);
  const { tasks } = await bootApp([Work]);
  const { id } = await tasks.enqueue(Work);
  const error: unknown = await tasks.result(id, { timeoutMs: 20 }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ResultTimeoutError);
  expect(error).toMatchObject({ message: expect.stringContaining('20 ms') });
  end.resolve(3);
  expect(await tasks.result(id)).toBe(3);
});

it('tells whoever waits when the application ends', async () => {
  const Work = taskOf('work', forever, keep);
  const { tasks, events, app } = await bootApp([Work], { shutdownGraceMs: 0 });
  const started = next(events, 'started');
  const { id } = await tasks.enqueue(Work);
  await started;
  const refused = expect(tasks.result(id)).rejects.toThrow(StoreClosedError);
  await app.close();
  await refused;
});

it('works with tasks in memory', async () => {
  const Work = taskOf('work', (n: number) => n * 2, keep);
  const { tasks } = await bootApp([Work], { store: new MemoryTaskStore() });
  const { id } = await tasks.enqueue(Work, 21);
  expect(await tasks.result(id)).toBe(42);
});

it('awaits in one process what another one runs', async () => {
  const schema = freshSchema();
  const worker = await startWorker({ schema });
  const { tasks } = await bootApp([], { schema, workers: false });
  const sums = await Promise.all(
    Array.from({ length: 50 }, async (_, n) => {
      const { id } = await tasks.enqueue('adding', { a: n, b: 1, ms: n });
      return tasks.result<{ sum: number; pid: number }>(id);
    }),
  );
  expect(sums.map(({ sum }) => sum)).toEqual(Array.from({ length: 50 }, (_, n) => n + 1));
  expect(new Set(sums.map(({ pid }) => pid))).toEqual(new Set([worker.child.pid]));
});

it('awaits what another process runs while its connection for hints is broken again and again', async () => {
  const schema = freshSchema();
  await startWorker({ schema });
  const own = backends();
  const { tasks } = await bootApp([], { schema, workers: false, connection: own.connection });
  for (let n = 0; n < 4; n++) {
    const { id } = await tasks.enqueue('adding', { a: n, b: 1, ms: 200 });
    const result = tasks.result<{ sum: number }>(id);
    await until(own.listener, (pid) => pid !== undefined);
    expect(await own.terminate('LISTEN%')).toBe(1);
    expect(await result).toMatchObject({ sum: n + 1 });
  }
});

it('awaits what another process runs when no hint comes at all', async () => {
  const schema = freshSchema();
  await startWorker({ schema });
  const { tasks, app } = await bootApp([], { schema, workers: false });
  const { getTaskStoreToken } = await import('nestjs-backie');
  const store = app.get<MemoryTaskStore>(getTaskStoreToken() as never);
  vi.spyOn(store, 'listen').mockResolvedValue({ live: false, stop: async () => {} });
  const { id } = await tasks.enqueue('adding', { a: 1, b: 2, ms: 300 });
  const looks = vi.spyOn(store, 'outcomes');
  expect(await tasks.result(id)).toMatchObject({ sum: 3 });
  expect(looks.mock.calls.length).toBeGreaterThan(1);
});

it('asks once for all that wait in a process, however many they are', async () => {
  const gate = deferred<number>();
  const Work = taskOf('work', () => gate.promise, keep);
  const { tasks, app } = await bootApp([Work], { queues: [{ name: 'default', concurrency: 200 }] });
  const { getTaskStoreToken } = await import('nestjs-backie');
  const looks = vi.spyOn(app.get<MemoryTaskStore>(getTaskStoreToken() as never), 'outcomes');
  const enqueued = await tasks.enqueueMany(Work, Array.from({ length: 200 }));
  const results = enqueued.map(({ id }) => tasks.result(id));
  await tasks.result(enqueued[0].id, { timeoutMs: 50 }).catch(() => {});
  gate.resolve(1);
  expect(await Promise.all(results)).toEqual(enqueued.map(() => 1));
  // Measured: 4 to 6.
  expect(looks.mock.calls.length).toBeLessThanOrEqual(40);
});

it('stores the result of a transactional task with its writes, and neither when it cannot be stored', async () => {
  const dataSource = await openDataSource();
  const schema = freshSchema();
  const write = (result: unknown) => async (_: unknown, task: CurrentTask) => {
    await task.manager.query(`INSERT INTO "${schema}".effect VALUES ($1)`, [task.name]);
    return result;
  };
  const options = { ...keep, transactional: true };
  const [Good, Bad] = [taskOf('good', write({ n: 1 }), options), taskOf('bad', write(1n), options)];
  const { tasks } = await bootApp([Good, Bad], { schema, dataSource });
  await sql(`CREATE TABLE "${schema}".effect (name text)`);
  expect(await tasks.result((await tasks.enqueue(Good)).id)).toEqual({ n: 1 });
  const refused = tasks.result((await tasks.enqueue(Bad)).id);
  await expect(refused).rejects.toMatchObject({ error: { name: 'InvalidResultError' } });
  expect(await sql(`SELECT name FROM "${schema}".effect`)).toEqual([{ name: 'good' }]);
});
