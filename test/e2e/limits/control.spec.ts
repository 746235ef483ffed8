import { type LimitChanges, InvalidOptionsError, type TaskQueue } from 'nestjs-backie';
import { describe, expect, it } from 'vitest';
import { bootApp, next, sql } from '../../support/app.js';
import { deferred, found, taskOf, until } from '../../support/tasks.js';
import {
  bookedSchema,
  mostAtOnce,
  mostInWindow,
  runsOf,
  startLimited,
  startsOf,
} from '../../fixtures/limited-process.js';

const lease = { leaseMs: 10_000, heartbeatMs: 1_000 };
type Runs = Awaited<ReturnType<typeof runsOf>>;

/** Long tasks for whoever may run them, one after the other. */
function load(tasks: TaskQueue, count: number, ms = 10): Promise<unknown> {
  return tasks.enqueueMany(
    'work',
    Array.from({ length: count }, () => ({ ms })),
    { queue: 'limited' },
  );
}

describe.each([
  { how: 'by notification', deaf: false },
  { how: 'without notifications', deaf: true },
])('another process obeys within a second, $how,', ({ deaf }) => {
  async function boot(concurrency = 2) {
    const schema = await bookedSchema();
    const { tasks } = await bootApp([], { schema, workers: false, defaults: { retention: 'keepAll' } });
    await startLimited({ schema, concurrency, ...lease, deaf });
    const ran = (more: number) =>
      until(
        () => runsOf(schema),
        (runs) => runs.length >= more,
      );
    /** The runs that began more than a second after now, once so many have begun. */
    const later = async (after: number) => {
      const changedAt = Date.now();
      const runs = await until(
        () => runsOf(schema),
        (seen) => seen.filter(({ began }) => began > changedAt + 1_000).length >= after,
      );
      return runs.filter(({ began }) => began > changedAt + 1_000);
    };
    /** Whether so many run at once a second from now on, and never more; it may take some tasks until all slots are busy. */
    const reaches = async (most: number) => {
      const changedAt = Date.now();
      const seen = (runs: Runs) => mostAtOnce(runs.filter(({ began }) => began > changedAt + 1_000));
      const runs = await until(
        () => runsOf(schema),
        (all) => seen(all) >= most,
      );
      return seen(runs) === most;
    };
    const pastASecond = (from = Date.now()) =>
      until(
        () => runsOf(schema),
        () => Date.now() > from + 1_500,
      );
    return { schema, tasks, ran, later, reaches, pastASecond };
  }

  it('when a task is paused and resumed', async () => {
    const { tasks, ran, pastASecond } = await boot();
    await load(tasks, 1_000);
    await ran(5);
    const pausedAt = Date.now();
    await tasks.pauseTask('work');
    expect(await tasks.pausedTasks()).toEqual(['work']);
    const runs = await pastASecond(pausedAt);
    expect(runs.filter(({ began }) => began > pausedAt + 1_000)).toEqual([]);
    const resumedAt = Date.now();
    await tasks.resumeTask('work');
    const again = (await ran(runs.length + 1))[runs.length];
    expect(again.began).toBeLessThan(resumedAt + 1_000);
    expect(await tasks.pausedTasks()).toEqual([]);
  });

  it('when a queue is paused and resumed, though it polls rarely', async () => {
    const schema = await bookedSchema();
    const { tasks } = await bootApp([], { schema, workers: false });
    await startLimited({ schema, concurrency: 2, ...lease, deaf, pollIntervalMs: 60_000 });
    await tasks.pause('limited');
    await load(tasks, 3);
    const read = until(
      () => runsOf(schema),
      () => Date.now() > pausedAt + 1_500,
    );
    const pausedAt = Date.now();
    expect(await read).toEqual([]);
    const resumedAt = Date.now();
    await tasks.resume('limited');
    const [first] = await until(
      () => runsOf(schema),
      (runs) => runs.length > 0,
    );
    expect(first.began).toBeLessThan(resumedAt + 1_000);
  });

  it('when its concurrency is lowered and raised', async () => {
    const { tasks, ran, later, reaches } = await boot(6);
    await load(tasks, 3_000, 20);
    await ran(10);
    await tasks.setLimits('limited', { concurrency: 1 });
    expect(mostAtOnce(await later(10))).toBe(1);
    await tasks.setLimits('limited', { concurrency: 4 });
    expect(await reaches(4)).toBe(true);
    await tasks.setLimits('limited', { concurrency: null });
    expect(await reaches(6)).toBe(true);
  });

  it('when the limits over all processes change', async () => {
    const { schema, tasks, ran, later, reaches } = await boot(4);
    await load(tasks, 3_000, 20);
    await ran(10);
    await tasks.setLimits('limited', { globalConcurrency: 2 });
    expect(mostAtOnce(await later(10))).toBe(2);
    await tasks.setLimits('limited', { globalConcurrency: null, rateLimit: { max: 3, perMs: 400 } });
    const from = (await later(9))[0].began;
    const starts = (await startsOf(schema)).filter((at) => at > from);
    expect(mostInWindow(starts, 400)).toBeLessThanOrEqual(3);
    await tasks.setLimits('limited', { rateLimit: 'none' });
    expect(await reaches(4)).toBe(true);
    expect(await tasks.limits('limited')).toMatchObject({ rateLimit: null, changed: ['rateLimit'] });
  });
});

it('shows the concurrency that holds, and lets what runs finish when it is lowered', async () => {
  const gate = deferred();
  const Work = taskOf('work', () => gate.promise);
  const { tasks, events, pool } = await bootApp([Work], { queues: [{ name: 'default', concurrency: 3 }] });
  const started = next(events, 'started', 3);
  await tasks.enqueueMany(Work, [1, 2, 3, 4, 5]);
  await started;
  await tasks.setLimits('default', { concurrency: 1 });
  const status = () =>
    until(
      () => tasks.limits('default'),
      ({ concurrency }) => pool.status().queues[0].concurrency === (concurrency ?? 3),
    );
  await status();
  expect(pool.status().queues).toMatchObject([{ name: 'default', concurrency: 1, running: 3 }]);
  const fourth = next(events, 'started');
  await tasks.setLimits('default', { concurrency: 4 });
  await status();
  await fourth;
  const done = next(events, 'done', 5);
  gate.resolve();
  await done;
});

it('starts no task of a name in this process once the call that pauses it has returned', async () => {
  const Work = taskOf('work', () => {});
  const Other = taskOf('other', () => {});
  const { tasks, events } = await bootApp([Work, Other]);
  const started: string[] = [];
  events.started.subscribe(({ name }) => started.push(name));
  for (let i = 0; i < 10; i++) {
    await tasks.pauseTask('work');
    const other = next(events, 'done');
    await tasks.enqueue(Work);
    await tasks.enqueue(Other);
    await other;
    expect(started.splice(0)).toEqual(['other']);
    const done = next(events, 'done');
    await tasks.resumeTask('work');
    await done;
    expect(started.splice(0)).toEqual(['work']);
  }
});

it('starts a waiting task as soon as the one before it has ended, not at the next poll', async () => {
  const Work = taskOf('work', () => {});
  const queue = { name: 'default', concurrency: 5, globalConcurrency: 1, pollIntervalMs: 3_600_000 };
  const { tasks, events } = await bootApp([Work], { queues: [queue] });
  const done = next(events, 'done', 20);
  await tasks.enqueueMany(Work, Array.from({ length: 20 }));
  await done;
});

it('starts a task as soon as there is a token for it, not at the next poll', async () => {
  const never = { pollIntervalMs: 3_600_000 };
  // Twenty windows: a second, or twenty if each waited for a look that comes every second.
  const rateLimit = { max: 2, perMs: 50 };
  const OfQueue = taskOf('of-queue', () => {}, { queue: 'rated' });
  const OfTask = taskOf('of-task', () => {}, { rateLimit });
  const { tasks, events } = await bootApp([OfQueue, OfTask], {
    defaults: never,
    queues: [{ name: 'rated', rateLimit }],
  });
  const done = next(events, 'done', 80);
  const startedAt = performance.now();
  await tasks.enqueueMany(OfQueue, Array.from({ length: 40 }));
  await tasks.enqueueMany(OfTask, Array.from({ length: 40 }));
  await done;
  expect(performance.now() - startedAt).toBeLessThan(10_000);
});

it('makes the key of a rate limit from the payload', async () => {
  const Keyed = taskOf<{ key: string }>('keyed', () => {}, {
    rateLimit: { max: 1, perMs: 3_600_000, key: (payload) => (payload as { key: string }).key },
  });
  const { tasks, events } = await bootApp([Keyed]);
  const done = next(events, 'done', 3);
  const [a, again] = await tasks.enqueueMany(Keyed, [{ key: 'a' }, { key: 'a' }]);
  await tasks.enqueue(Keyed, { key: 'b' });
  await tasks.enqueue(Keyed, { key: 'a' }, { rateKey: 'c' });
  expect((await done).map(({ id }) => id)).toContain(a.id);
  expect(await found(tasks, again.id)).toMatchObject({ state: 'ready', attempt: 0 });
});

it('refuses to claim in a transaction that would not see what others have claimed', async () => {
  const { schema } = await bootApp([], { workers: false });
  const claim = `SELECT FROM "${schema}".claim_limited(gen_random_uuid(), 'mail', '{work}', 1, 3, false)`;
  await expect(sql(`BEGIN ISOLATION LEVEL REPEATABLE READ; ${claim}`)).rejects.toThrow(/READ COMMITTED/);
  await sql(claim);
});

describe('bad input is refused and changes nothing:', () => {
  const changes: [string, unknown][] = [
    ['globalConcurrency of 0', { globalConcurrency: 0 }],
    ['concurrency of 0', { concurrency: 0 }],
    ['half a slot', { concurrency: 1.5 }],
    ['a limit below 0', { globalConcurrency: -1 }],
    ['a limit that is not finite', { globalConcurrency: Infinity }],
    ['no tokens', { rateLimit: { max: 0, perMs: 1_000 } }],
    ['no window', { rateLimit: { max: 1 } }],
    ['an empty window', { rateLimit: { max: 1, perMs: 0 } }],
    ['a window below 0', { rateLimit: { max: 1, perMs: -1 } }],
    ['a window that is not finite', { rateLimit: { max: 1, perMs: Infinity } }],
    ['a window that is no number', { rateLimit: { max: 1, perMs: Number.NaN } }],
    ['a key of a queue', { rateLimit: { max: 1, perMs: 1, key: () => 'a' } }],
    ['a typo', { globalConcurency: 1 }],
    ['another word', { rateLimit: 'all' }],
    ['no object', 3],
  ];
  it.each(changes)('setLimits with %s', async (_, change) => {
    const { tasks } = await bootApp([], { workers: false });
    await expect(tasks.setLimits('mail', change as LimitChanges)).rejects.toThrow(InvalidOptionsError);
    await expect(tasks.setLimits('mail', change as LimitChanges)).rejects.toThrow('TaskQueue.setLimits("mail")');
    expect(await tasks.limits('mail')).toMatchObject({ changed: [] });
  });

  it.each([{}, { concurrency: undefined, rateLimit: undefined }])('setLimits with no limit: %o', async (change) => {
    const { tasks } = await bootApp([], { workers: false });
    await tasks.setLimits('mail', { concurrency: 3 });
    await expect(tasks.setLimits('mail', change)).rejects.toThrow(InvalidOptionsError);
    await expect(tasks.setLimits('mail', change)).rejects.toThrow(
      'TaskQueue.setLimits("mail"): nothing is to change. Give concurrency, globalConcurrency or rateLimit.',
    );
    expect(await tasks.limits('mail')).toMatchObject({ concurrency: 3, changed: ['concurrency'] });
  });

  it('names that are none', async () => {
    const { tasks } = await bootApp([], { workers: false });
    await expect(tasks.setLimits('', { concurrency: 1 })).rejects.toThrow(InvalidOptionsError);
    await expect(tasks.limits('x'.repeat(129))).rejects.toThrow(InvalidOptionsError);
    await expect(tasks.pauseTask('')).rejects.toThrow(InvalidOptionsError);
    await expect(tasks.resumeTask('')).rejects.toThrow(InvalidOptionsError);
  });

  it('rate keys that are too long, or none', async () => {
    const key = (payload: unknown) => (payload as { key: string }).key;
    const Keyed = taskOf('keyed', () => {}, { rateLimit: { max: 1, perMs: 1, key } });
    const { tasks } = await bootApp([Keyed], { workers: false });
    for (const bad of ['', 'x'.repeat(256), 7]) {
      await expect(tasks.enqueue(Keyed, { key: bad })).rejects.toThrow(InvalidOptionsError);
      await expect(tasks.enqueue('any', {}, { rateKey: bad as string })).rejects.toThrow(InvalidOptionsError);
    }
    expect((await tasks.counts()).ready).toBe(0);
  });

  it.each([
    { max: 0, perMs: 1 },
    { max: 1, perMs: -5 },
    { max: 1, perMs: Infinity },
    { max: 1 } as { max: number; perMs: number },
    { max: 1, perMs: 1, key: 'k' as unknown as () => string },
  ])('the rate limit %o of a task or a queue', async (rateLimit) => {
    expect(() => taskOf('work', () => {}, { rateLimit })).toThrow(InvalidOptionsError);
    await expect(bootApp([], { queues: [{ name: 'mail', rateLimit }] })).rejects.toThrow(/queue "mail".*rateLimit/);
  });
});
