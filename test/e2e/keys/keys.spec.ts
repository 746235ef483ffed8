import { ConcurrencyKeyError, InvalidOptionsError, MemoryTaskStore } from 'nestjs-backie';
import { describe, expect, it } from 'vitest';
import { bootApp, liveTasks, next, openDataSource, sql } from '../../support/app.js';
import { deferred, found, taskOf, until } from '../../support/tasks.js';

interface Sync {
  readonly account: string;
  readonly nr?: number;
}

const byAccount = { concurrencyKey: (payload: unknown) => (payload as Sync).account };

/** A task that says what it runs, and ends when the test says so. */
function gated(options = {}) {
  const gates: { nr: number | undefined; open(): void }[] = [];
  const Gated = taskOf<Sync>(
    'gated',
    ({ nr }) => {
      const { promise, resolve } = deferred();
      gates.push({ nr, open: resolve });
      return promise;
    },
    { ...byAccount, ...options },
  );
  return { Gated, gates };
}

describe('a task with a concurrency key', () => {
  it('runs when the one before it has ended, without waiting for a poll', async () => {
    const { Gated, gates } = gated();
    const queues = [{ name: 'default', pollIntervalMs: 60_000 }];
    const { tasks, events } = await bootApp([Gated], { queues });
    const started = next(events, 'started');
    for (let nr = 0; nr < 3; nr++) await tasks.enqueue(Gated, { account: 'a', nr });
    await started;
    for (let nr = 0; nr < 3; nr++) {
      expect(gates.map((gate) => gate.nr)).toEqual(Array.from({ length: nr + 1 }, (_, i) => i));
      const following = nr < 2 ? next(events, 'started') : next(events, 'done');
      gates[nr].open();
      await following;
    }
  });

  it('runs a chain of 200 within a moment', async () => {
    const Link = taskOf('link', () => {}, byAccount);
    const { tasks, events } = await bootApp([Link], { queues: [{ name: 'default', pollIntervalMs: 60_000 }] });
    const done = next(events, 'done', 200);
    await tasks.enqueueMany(
      Link,
      Array.from({ length: 200 }, (_, nr) => ({ account: 'a', nr })),
    );
    expect((await done).map(({ id }) => id)).toEqual((await done).map(({ id }) => id).toSorted());
  });

  it('runs in the order of the calls, also of those that nobody waited for', async () => {
    const order: unknown[] = [];
    const Link = taskOf<Sync>('link', ({ nr }) => order.push(nr), byAccount);
    const { tasks, events } = await bootApp([Link]);
    const done = next(events, 'done', 60);
    for (let nr = 0; nr < 60; nr++) {
      void tasks.enqueue(Link, { account: 'a', nr });
      // Some share a statement, some do not.
      if (nr % 7 === 0) await tasks.counts();
    }
    await done;
    expect(order).toEqual(Array.from({ length: 60 }, (_, nr) => nr));
  });

  it('waits for the commit of its transaction, and runs then', async () => {
    const { Gated, gates } = gated();
    const { tasks, events } = await bootApp([Gated], { queues: [{ name: 'default', pollIntervalMs: 60_000 }] });
    const dataSource = await openDataSource();
    const started = next(events, 'started', 2);
    await dataSource.transaction(async (manager) => {
      await tasks.enqueue(Gated, { account: 'a', nr: 1 }, { manager });
      await tasks.enqueueMany(
        Gated,
        [
          { account: 'a', nr: 2 },
          { account: 'b', nr: 3 },
        ],
        { manager },
      );
      expect(gates).toEqual([]);
    });
    await started;
    expect(new Set(gates.map(({ nr }) => nr))).toEqual(new Set([1, 3]));
    for (const { open } of gates.splice(0)) open();
    await until(
      () => tasks.counts(),
      ({ running }) => running === 1,
    );
    gates[0]?.open();
  });

  it('leaves no trace when its transaction rolls back', async () => {
    const { Gated } = gated();
    const { tasks, schema } = await bootApp([Gated]);
    const dataSource = await openDataSource();
    await expect(
      dataSource.transaction(async (manager) => {
        await tasks.enqueue(Gated, { account: 'a' }, { manager });
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    expect(await liveTasks(schema)).toBe(0);
  });

  it('joins a REPEATABLE READ transaction, also with a unique key', async () => {
    const { Gated, gates } = gated();
    const { tasks, events } = await bootApp([Gated]);
    const dataSource = await openDataSource();
    const started = next(events, 'started');
    await dataSource.transaction('REPEATABLE READ', async (manager) => {
      await tasks.enqueue(Gated, { account: 'a', nr: 1 }, { manager, uniqueKey: 'u' });
    });
    await started;
    gates[0].open();
  });

  it('takes its key and its limit from the call, when that names them', async () => {
    const { Gated, gates } = gated();
    const { tasks, events } = await bootApp([Gated]);
    const started = next(events, 'started', 3);
    const options = { concurrencyKey: 'mine', concurrencyLimit: 2 };
    for (let nr = 0; nr < 3; nr++) await tasks.enqueue('gated', { account: 'a', nr }, options);
    const { id } = await tasks.enqueue('gated', { account: 'a', nr: 9 });
    expect((await started).map((event) => event.id)).toContain(id);
    expect(new Set(gates.map(({ nr }) => nr))).toEqual(new Set([0, 1, 9]));
    const { tasks: shown } = await tasks.list({}, { order: 'oldestFirst' });
    expect(shown.map((task) => task.concurrencyKey)).toEqual(['mine', 'mine', 'mine', 'a']);
    for (const { open } of gates) open();
    await next(events, 'started');
    gates[3].open();
  });

  it('is enqueued by schedules too, one after the other', async () => {
    const { Gated, gates } = gated();
    const { tasks, events } = await bootApp([Gated]);
    await tasks.schedule('sync', Gated, { cron: '0 0 1 1 *', payload: { account: 'a' } });
    const started = next(events, 'started');
    await tasks.runNow('sync');
    const second = await tasks.runNow('sync');
    await started;
    expect(await found(tasks, second.id)).toMatchObject({ state: 'ready', concurrencyKey: 'a' });
    const again = next(events, 'started');
    gates[0].open();
    await again;
    gates[1].open();
  });

  it('works in memory as in the database', async () => {
    const { Gated, gates } = gated();
    const { tasks, events } = await bootApp([Gated], { store: new MemoryTaskStore() });
    const started = next(events, 'started');
    for (let nr = 0; nr < 2; nr++) await tasks.enqueue(Gated, { account: 'a', nr });
    await started;
    const again = next(events, 'started');
    expect(gates).toHaveLength(1);
    gates[0].open();
    await again;
    gates[1].open();
  });

  it('goes on in another process when one stops with the next admitted by nobody', async () => {
    const { Gated, gates } = gated();
    const { tasks, events, schema } = await bootApp([Gated], { heartbeatMs: 50 });
    // As if its process had died between the end of the one before and the admission.
    await tasks.pauseKey(Gated, 'a');
    const { id } = await tasks.enqueue(Gated, { account: 'a', nr: 1 });
    const started = next(events, 'started');
    await sql(`DELETE FROM "${schema}".paused_lane`);
    expect(await started).toMatchObject([{ id }]);
    gates[0].open();
  });
});

describe('a paused key', () => {
  it('starts nothing in any process until it is resumed, and what runs goes on', async () => {
    const { Gated, gates } = gated({ concurrencyLimit: 2 });
    const { tasks, events, schema } = await bootApp([Gated]);
    const other = await bootApp([], { schema, workers: false });
    const started = next(events, 'started');
    await tasks.enqueue(Gated, { account: 'a', nr: 1 });
    await started;
    await other.tasks.pauseKey('gated', 'a');
    expect(await tasks.pausedKeys()).toEqual([
      { queue: 'default', task: 'gated', key: 'a', pausedAt: expect.any(Date) as Date },
    ]);
    const done = next(events, 'done');
    await tasks.enqueue(Gated, { account: 'a', nr: 2 });
    const free = next(events, 'started');
    await tasks.enqueue(Gated, { account: 'b', nr: 3 });
    await free;
    gates[0].open();
    await done;
    expect(gates.map(({ nr }) => nr)).toEqual([1, 3]);
    const resumed = next(events, 'started');
    await other.tasks.resumeKey('gated', 'a');
    await resumed;
    expect(gates.map(({ nr }) => nr)).toEqual([1, 3, 2]);
    expect(await other.tasks.pausedKeys()).toEqual([]);
    for (const { open } of gates) open();
  });

  it('is that of the task on its own queue, or on the one that is named', async () => {
    const { Gated } = gated({ queue: 'mine' });
    const { tasks } = await bootApp([Gated], { queues: [{ name: 'mine' }] });
    await tasks.pauseKey(Gated, 'a');
    await tasks.pauseKey(Gated, 'a', { queue: 'other' });
    expect(await tasks.pausedKeys()).toMatchObject([{ queue: 'mine' }, { queue: 'other' }]);
    await tasks.resumeKey(Gated, 'a');
    expect(await tasks.pausedKeys()).toMatchObject([{ queue: 'other' }]);
  });
});

it('pauses a key that its task does not make, as a call may give it', async () => {
  const Plain = taskOf('plain', () => {});
  const { tasks, events } = await bootApp([Plain]);
  await tasks.pauseKey(Plain, 'a');
  const paused = await tasks.enqueue(Plain, {}, { concurrencyKey: 'a' });
  const free = next(events, 'done');
  const other = await tasks.enqueue(Plain, {}, { concurrencyKey: 'b' });
  expect(await free).toMatchObject([{ id: other.id }]);
  expect(await found(tasks, paused.id)).toMatchObject({ state: 'ready', attempt: 0 });
  const resumed = next(events, 'done');
  await tasks.resumeKey(Plain, 'a');
  expect(await resumed).toMatchObject([{ id: paused.id }]);
});

describe('bad input of concurrency keys', () => {
  it.each([0, -1, 1.5, Number.NaN, 100_001, '3'])('refuses a limit of %s', async (concurrencyLimit) => {
    const options = { ...byAccount, concurrencyLimit: concurrencyLimit as number };
    expect(() => taskOf('bad', () => {}, options)).toThrow(InvalidOptionsError);
    expect(() => taskOf('bad', () => {}, options)).toThrow('concurrencyLimit must be an integer from 1 to 100000');
    const { Gated } = gated();
    const { tasks, schema } = await bootApp([Gated], { workers: false });
    const call = { concurrencyLimit: concurrencyLimit as number };
    await expect(tasks.enqueue(Gated, { account: 'a' }, call)).rejects.toThrow(InvalidOptionsError);
    expect(await liveTasks(schema)).toBe(0);
  });

  it('refuses a limit without a key, in the declaration and in the call', async () => {
    expect(() => taskOf('bad', () => {}, { concurrencyLimit: 3 })).toThrow('there is no key: add concurrencyKey');
    const { tasks, schema } = await bootApp([], { workers: false });
    await expect(tasks.enqueue('plain', {}, { concurrencyLimit: 3 })).rejects.toThrow('has no key: add concurrencyKey');
    expect(await liveTasks(schema)).toBe(0);
  });

  it('refuses a concurrencyKey that is no function', () => {
    expect(() => taskOf('bad', () => {}, { concurrencyKey: 'a' as never })).toThrow(
      'concurrencyKey must be a function (payload) => key, not "a"',
    );
  });

  const long = 'x'.repeat(256);
  it.each([
    ['', '""'],
    [long, '"xxx'],
    ['\0', '"\\u0000"'],
    [7, '7'],
    [undefined, 'undefined'],
    [null, 'null'],
  ])('refuses the key %j, made or given, and stores nothing', async (key, shown) => {
    const Bad = taskOf('bad', () => {}, { concurrencyKey: () => key as string });
    const { tasks, schema } = await bootApp([Bad], { workers: false });
    const dataSource = await openDataSource();
    await dataSource.transaction(async (manager) => {
      const enqueued = tasks.enqueueMany(Bad, [1, 2], { manager });
      await expect(enqueued).rejects.toThrow(ConcurrencyKeyError);
      await expect(enqueued).rejects.toThrow(`The concurrencyKey of task "bad" made ${shown}`);
      // The transaction is still usable.
      await tasks.enqueue('plain', {}, { manager });
    });
    expect(await liveTasks(schema)).toBe(1);
    if (key === undefined) return;
    for (const [given, what] of [
      [tasks.enqueue('plain', {}, { concurrencyKey: key as string }), 'enqueue: concurrencyKey'],
      [tasks.enqueue(Bad, {}, { concurrencyKey: key as string }), 'enqueue: concurrencyKey'],
      [tasks.enqueueMany('plain', [], { concurrencyKey: key as string }), 'enqueueMany: concurrencyKey'],
      [tasks.pauseKey('plain', key as string), 'pauseKey: the key'],
      [tasks.resumeKey('plain', key as string), 'resumeKey: the key'],
    ] as const) {
      const error: unknown = await given.catch((reason: unknown) => reason);
      // Whoever made it: the same error, which is one of bad options too.
      expect(error).toBeInstanceOf(ConcurrencyKeyError);
      expect(error).toBeInstanceOf(InvalidOptionsError);
      expect((error as Error).message).toContain(
        `TaskQueue.${what} must be a string of 1 to 255 characters that PostgreSQL can store, not ${shown}`,
      );
    }
    expect(await liveTasks(schema)).toBe(1);
  });

  it('refuses a payload for which the function throws, says why, and stores none of the others', async () => {
    const cause = new Error('no account');
    const Bad = taskOf('bad', () => {}, {
      concurrencyKey: (payload) => {
        if (payload === 2) throw cause;
        return 'a';
      },
    });
    const { tasks, schema } = await bootApp([Bad], { workers: false });
    const enqueued = tasks.enqueueMany(Bad, [1, 2, 3]);
    await expect(enqueued).rejects.toThrow(ConcurrencyKeyError);
    await expect(enqueued).rejects.toThrow('The concurrencyKey of task "bad" threw for a payload: no account.');
    await expect(enqueued).rejects.toMatchObject({ cause });
    expect(await liveTasks(schema)).toBe(0);
  });

  it('refuses options of a pause that do not exist', async () => {
    const { tasks } = await bootApp([], { workers: false });
    await expect(tasks.pauseKey('plain', 'a', { qeue: 'x' } as never)).rejects.toThrow('Did you mean "queue"?');
  });
});
