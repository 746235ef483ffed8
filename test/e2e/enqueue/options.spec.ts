import { BackgroundTask, type BackgroundTaskHandler, type CurrentTask, TaskTimeoutError } from 'nestjs-backie';
import { describe, expect, it } from 'vitest';
import { bootApp, next, shared, sql } from '../../support/app.js';

@BackgroundTask('plain')
class Plain implements BackgroundTaskHandler<number | undefined> {
  readonly runs: { payload: unknown; task: CurrentTask }[] = [];

  run(payload: number | undefined, task: CurrentTask): void {
    this.runs.push({ payload, task });
  }
}

@BackgroundTask('declared', { queue: 'email', priority: 5, maxRetries: 7, timeoutMs: 1_234, unique: true })
class Declared implements BackgroundTaskHandler<{ id: number }> {
  run(): void {}
}

/** Runs until it is aborted, and fails with the reason. */
@BackgroundTask('endless')
class Endless implements BackgroundTaskHandler<void> {
  run(_: void, { signal }: CurrentTask): Promise<void> {
    return new Promise((_, fail) => {
      signal.addEventListener('abort', () => fail(signal.reason as Error));
    });
  }
}

@BackgroundTask('failing', { maxRetries: 9 })
class Failing implements BackgroundTaskHandler<void> {
  run(): void {
    throw new Error('as ever');
  }
}

const uuidv7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

describe('a stored task', () => {
  const context = shared(() => bootApp([Plain, Declared], { workers: false, queues: [{ name: 'email' }] }));

  async function stored(...args: [task: string | typeof Plain, payload?: number, options?: object]) {
    const { tasks } = context();
    const { id } = await tasks.enqueue(args[0] as string, args[1], args[2]);
    return (await tasks.find(id))!;
  }

  it('has a UUIDv7, the defaults, and is due at once', async () => {
    const before = Date.now();
    const task = await stored(Plain, 1);
    expect(task).toMatchObject({
      id: expect.stringMatching(uuidv7),
      name: 'plain',
      queue: 'default',
      state: 'ready',
      payload: 1,
      priority: 0,
      uniqueKey: null,
      attempt: 0,
      maxRetries: null,
      timeoutMs: null,
    });
    expect(task.scheduledAt).toEqual(task.createdAt);
    expect(Math.abs(task.createdAt.getTime() - before)).toBeLessThan(60_000);
  });

  it('has what its class declares, whether it is enqueued by class or by name', async () => {
    const { tasks } = context();
    const byClass = await tasks.enqueue(Declared, { id: 1 });
    const byName = await tasks.enqueue('declared', { id: 2 });
    for (const { id } of [byClass, byName]) {
      expect(await tasks.find(id)).toMatchObject({ name: 'declared', queue: 'email', priority: 5 });
      expect((await tasks.find(id))!.uniqueKey).toMatch(/^[0-9a-f]{64}$/);
    }
    expect(await tasks.enqueue('declared', { id: 1 })).toEqual({ id: byClass.id, duplicate: true });
  });

  it('may have a name that this process does not know', async () => {
    expect(await stored('from-elsewhere', 1)).toMatchObject({ name: 'from-elsewhere', queue: 'default', payload: 1 });
  });

  it('has what the call says in place of what its class declares', async () => {
    const { tasks } = context();
    const options = { queue: 'other', priority: -5, maxRetries: 0, timeoutMs: 99.5, uniqueKey: 'mine' };
    const { id } = await tasks.enqueue(Declared, { id: 1 }, options);
    expect(await tasks.find(id)).toMatchObject({ ...options, timeoutMs: 100 });
  });

  it("has the module's priority when neither its class nor the call says one", async () => {
    const { tasks } = await bootApp([Plain, Declared], {
      workers: false,
      queues: [{ name: 'email' }],
      defaults: { priority: 3 },
    });
    const priorities = [];
    for (const { id } of [
      await tasks.enqueue(Plain),
      await tasks.enqueue('unknown'),
      await tasks.enqueue(Declared, { id: 1 }),
    ]) {
      priorities.push((await tasks.find(id))!.priority);
    }
    expect(priorities).toEqual([3, 3, 5]);
  });

  it.each([0, 0.5, 1, 60_000, 10 * 365 * 24 * 3_600_000])('is due %s ms after it was created', async (delayMs) => {
    const task = await stored(Plain, 1, { delayMs });
    expect(task.scheduledAt.getTime() - task.createdAt.getTime()).toBeCloseTo(delayMs, -1);
  });

  it.each([
    ['a Date', new Date('2035-05-05T05:05:05.005Z'), '2035-05-05T05:05:05.005Z'],
    ['an ISO string', '2035-05-05T05:05:05.005Z', '2035-05-05T05:05:05.005Z'],
    ['an ISO string with an offset', '2035-05-05T07:05:05+02:00', '2035-05-05T05:05:05.000Z'],
    ['the past', new Date(0), '1970-01-01T00:00:00.000Z'],
    ['a far future', new Date('9999-12-31T23:59:59.999Z'), '9999-12-31T23:59:59.999Z'],
    ['a far past', '0001-01-01T00:00:00.000Z', '0001-01-01T00:00:00.000Z'],
  ])('is due at %s', async (_, scheduledAt, expected) => {
    expect((await stored(Plain, 1, { scheduledAt })).scheduledAt.toISOString()).toBe(expected);
  });

  it('takes an option that is undefined for one that is not given', async () => {
    const options = { delayMs: undefined, queue: undefined, uniqueKey: undefined, manager: undefined };
    expect(await stored(Plain, 1, options)).toMatchObject({ queue: 'default', uniqueKey: null });
  });

  it('wakes a worker that would otherwise look for it in an hour', async () => {
    const { app, tasks, events } = await bootApp([Plain], { queues: [{ name: 'default', pollIntervalMs: 3_600_000 }] });
    for (const [count, enqueue] of [
      () => tasks.enqueue(Plain, 1),
      () => tasks.enqueue(Plain, 2, { delayMs: 20 }),
      () => tasks.enqueueMany(Plain, [3]),
      () => tasks.enqueue(Plain, 4, { scheduledAt: new Date(Date.now() + 20) }),
    ].entries()) {
      const done = next(events, 'done');
      await enqueue();
      await done;
      expect(app.get(Plain).runs).toHaveLength(count + 1);
    }
  });
});

describe('a worker', () => {
  it('runs higher priorities first, and the tasks of one priority in their order', async () => {
    const { app, tasks, events, pool } = await bootApp([Plain], {
      workers: false,
      queues: [{ name: 'default', concurrency: 1 }],
    });
    const priorities = [0, 32_767, -32_768, 5, 0, 32_767];
    for (const [index, priority] of priorities.entries()) await tasks.enqueue(Plain, index, { priority });
    const done = next(events, 'done', priorities.length);
    await pool.start();
    await done;
    expect(app.get(Plain).runs.map(({ payload }) => payload)).toEqual([1, 5, 3, 0, 4, 2]);
  });

  it('leaves a task alone until it is due', async () => {
    const { app, tasks, events, schema } = await bootApp([Plain]);
    const { id } = await tasks.enqueue(Plain, 1, { delayMs: 3_600_000, priority: 9 });
    const other = next(events, 'done');
    await tasks.enqueue(Plain, 2);
    await other;
    expect(app.get(Plain).runs.map(({ payload }) => payload)).toEqual([2]);

    const due = next(events, 'done');
    await sql(`UPDATE "${schema}".task SET scheduled_at = now() WHERE id = $1`, [id]);
    await due;
    expect(app.get(Plain).runs.map(({ payload }) => payload)).toEqual([2, 1]);
  });

  it('retries as often as the call says', async () => {
    const { tasks, events } = await bootApp([Failing]);
    const failed = next(events, 'failed');
    const { id } = await tasks.enqueue(Failing, undefined, { maxRetries: 0 });
    expect((await failed)[0]).toMatchObject({ id, attempt: 1 });
  });

  it('ends an attempt after the time that the call says', async () => {
    const { tasks, events } = await bootApp([Endless]);
    const failed = next(events, 'failed');
    await tasks.enqueue(Endless, undefined, { timeoutMs: 20, maxRetries: 0 });
    expect((await failed)[0]!.error).toBeInstanceOf(TaskTimeoutError);
  });

  it('runs a task on the queue that the call says', async () => {
    const { app, tasks, events } = await bootApp([Plain], { queues: [{ name: 'email' }] });
    const done = next(events, 'done');
    await tasks.enqueue(Plain, 1, { queue: 'email' });
    await done;
    expect(app.get(Plain).runs[0]!.task.queue).toBe('email');
  });

  it('shows a handler its task', async () => {
    const { app, tasks, events } = await bootApp([Plain]);
    const done = next(events, 'done');
    const { id } = await tasks.enqueue(Plain, 1, { priority: 2, maxRetries: 4, timeoutMs: 5_000 });
    const created = (await tasks.find(id))?.createdAt;
    await done;
    const { task } = app.get(Plain).runs[0]!;
    expect(task).toMatchObject({
      id,
      name: 'plain',
      queue: 'default',
      priority: 2,
      attempt: 1,
      retries: 0,
      maxRetries: 4,
      timeoutMs: 5_000,
    });
    expect(task.signal.aborted).toBe(false);
    expect(task.createdAt).toBeInstanceOf(Date);
    if (created) expect(task.createdAt).toEqual(created);
  });
});
