import fc from 'fast-check';
import { ShutdownError, type WorkerPool } from 'nestjs-backie';
import { describe, expect, it } from 'vitest';
import { bootApp, next, runTask, sql } from '../../support/app.js';
import { abortReason, deferred, forever, found, taskOf, until } from '../../support/tasks.js';

/** Resolves once the pool's drain waits for what runs. */
async function waiting(pool: WorkerPool): Promise<void> {
  await until(
    () => sql('SELECT 1'),
    () => pool.status().state === 'draining',
  );
}

const fast = { defaults: { pollIntervalMs: 20 } };

describe('by hand', () => {
  it('stop() starts nothing more and lets what runs go on; start() goes on', async () => {
    const gate = deferred();
    const Work = taskOf('work', (wait: boolean) => (wait ? gate.promise : undefined));
    const { tasks, events, pool } = await bootApp([Work], fast);
    const started = next(events, 'started');
    await tasks.enqueue(Work, true);
    await started;
    const { workerId } = pool.status();
    await pool.stop();
    expect(pool.status()).toMatchObject({ state: 'stopping', workerId, queues: [{ running: 1 }] });
    const { id } = await tasks.enqueue(Work, false);
    const done = next(events, 'done');
    gate.resolve();
    await done;
    expect(await found(tasks, id)).toMatchObject({ state: 'ready' });
    const rest = next(events, 'done');
    await pool.start();
    expect(pool.status()).toMatchObject({ state: 'running', workerId });
    expect(await rest).toMatchObject([{ id }]);
  });

  it('drain() finishes what runs, gives up the lease, and start() works again under a new one', async () => {
    const gate = deferred();
    const Work = taskOf('work', (wait: boolean) => (wait ? gate.promise : undefined));
    const booted = await bootApp([Work], fast);
    const { tasks, events, pool, schema } = booted;
    const before = pool.status().workerId;
    const started = next(events, 'started');
    await tasks.enqueue(Work, true);
    await started;
    const done = next(events, 'done');
    const drained = pool.drain();
    gate.resolve();
    await drained;
    await done;
    expect(pool.status()).toMatchObject({ state: 'stopped', workerId: null, leaseRemainingMs: null, queues: [] });
    expect(await sql(`SELECT FROM "${schema}".worker`)).toEqual([]);
    await pool.start();
    expect(pool.status().workerId).not.toBe(before);
    await runTask(booted, Work, false);
  });

  it('drain({ graceMs }) takes its own grace', async () => {
    const reason = deferred<unknown>();
    const Hanging = taskOf('hanging', (_payload, { signal }) => {
      void abortReason(signal).then(reason.resolve);
      return forever();
    });
    const { tasks, events, pool } = await bootApp([Hanging]);
    const started = next(events, 'started');
    const { id } = await tasks.enqueue(Hanging);
    await started;
    await pool.drain({ graceMs: 0 });
    expect(await reason.promise).toBeInstanceOf(ShutdownError);
    expect(await found(tasks, id)).toMatchObject({ state: 'ready', attempt: 0 });
  });

  it.each(['it has only been called', 'it waits for a task'])(
    'drain({ graceMs }) hurries a drain when %s',
    async (when) => {
      const Hanging = taskOf('hanging', forever);
      const { tasks, events, pool } = await bootApp([Hanging], { shutdownGraceMs: 3_600_000 });
      const started = next(events, 'started');
      const { id } = await tasks.enqueue(Hanging);
      await started;
      const patient = pool.drain();
      await (when === 'it waits for a task' ? waiting(pool) : undefined);
      await Promise.all([pool.drain({ graceMs: 0 }), patient]);
      expect(pool.status().state).toBe('stopped');
      expect(await found(tasks, id)).toMatchObject({ state: 'ready', attempt: 0 });
    },
  );

  it('start(), called while a drain waits for a task, works again when the drain has ended', async () => {
    const gate = deferred();
    const Work = taskOf('work', (wait: boolean) => (wait ? gate.promise : undefined));
    const booted = await bootApp([Work], fast);
    const { tasks, events, pool, schema } = booted;
    const before = pool.status().workerId;
    const started = next(events, 'started');
    await tasks.enqueue(Work, true);
    await started;
    const drained = pool.drain();
    const restarted = pool.start();
    const done = next(events, 'done');
    gate.resolve();
    await Promise.all([drained, restarted, done]);
    const { state, workerId } = pool.status();
    expect(state).toBe('running');
    expect(workerId).not.toBe(before);
    expect(await sql(`SELECT id FROM "${schema}".worker`)).toEqual([{ id: workerId }]);
    await runTask(booted, Work, false);
    await pool.drain();
    expect(await sql(`SELECT id FROM "${schema}".worker`)).toEqual([]);
  });

  it('drain() from inside a handler waits for no more than the grace', async () => {
    const drained = deferred();
    let drain = (): Promise<void> => Promise.resolve();
    const Work = taskOf('work', async () => {
      await drain();
      drained.resolve();
    });
    const { tasks, pool } = await bootApp([Work], { shutdownGraceMs: 50 });
    drain = () => pool.drain();
    const { id } = await tasks.enqueue(Work);
    await drained.promise;
    expect(pool.status().state).toBe('stopped');
    expect(await found(tasks, id)).toMatchObject({ state: 'ready', attempt: 0 });
  });
});

it('stands any order of start, stop and drain, in turn or all at once', { timeout: 60_000 }, async () => {
  const Work = taskOf('work', () => {});
  const booted = await bootApp([Work], fast);
  const { pool, schema } = booted;
  const workers = async () => (await sql<{ id: string }>(`SELECT id FROM "${schema}".worker`)).map(({ id }) => id);
  const step = fc.record({ call: fc.constantFrom('start', 'stop', 'drain'), wait: fc.boolean() } as const);
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
      const calls: Promise<void>[] = [];
      for (const { call, wait } of steps) {
        calls.push(pool[call]());
        if (wait) await calls.at(-1);
      }
      await Promise.all(calls);
      await pool.start();
      expect(pool.status().state).toBe('running');
      expect(await workers()).toEqual([pool.status().workerId]);
      await runTask(booted, Work);
      await pool.drain();
      expect(pool.status()).toMatchObject({ state: 'stopped', workerId: null });
      expect(await workers()).toEqual([]);
    }),
    {
      numRuns: 15,
      examples: [
        [
          [
            { call: 'drain', wait: false },
            { call: 'start', wait: false },
          ],
        ],
        [
          [
            { call: 'stop', wait: true },
            { call: 'start', wait: false },
            { call: 'drain', wait: false },
          ],
        ],
        [
          [
            { call: 'start', wait: true },
            { call: 'drain', wait: false },
            { call: 'drain', wait: false },
            { call: 'stop', wait: false },
            { call: 'start', wait: false },
          ],
        ],
      ],
    },
  );
});
