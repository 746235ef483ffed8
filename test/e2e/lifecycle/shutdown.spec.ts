import { Injectable, type BeforeApplicationShutdown, type OnModuleDestroy, type Type } from '@nestjs/common';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import { BackieModule, ShutdownError, TaskEvents, TaskQueue, WorkerPool } from 'nestjs-backie';
import { DataSource } from 'typeorm';
import { describe, expect, inject, it } from 'vitest';
import { bootApp, bootModule, freshSchema, moduleOf, next, sql } from '../../support/app.js';
import { backends } from '../../support/backends.js';
import { abortReason, type Deferred, deferred, forever, found, taskOf } from '../../support/tasks.js';
import { startProxy } from '../../fixtures/proxy.js';

/** Tells the test how far the shutdown is. */
function watchShutdown(): { Watch: Type; destroying: Promise<void>; closing: Promise<void> } {
  const destroying = deferred();
  const closing = deferred();
  @Injectable()
  class Watch implements OnModuleDestroy, BeforeApplicationShutdown {
    onModuleDestroy(): void {
      destroying.resolve();
    }

    beforeApplicationShutdown(): void {
      closing.resolve();
    }
  }
  return { Watch, destroying: destroying.promise, closing: closing.promise };
}

async function workers(schema: string): Promise<number> {
  return (await sql(`SELECT FROM "${schema}".worker`)).length;
}

describe('close()', () => {
  it('starts nothing new, lets what runs finish, and leaves neither a worker nor a connection behind', async () => {
    const gates: Deferred<void>[] = [];
    const Work = taskOf('work', () => {
      gates.push(deferred());
      return gates.at(-1)!.promise;
    });
    const { Watch, closing } = watchShutdown();
    const { connection, gone } = backends();
    const schema = freshSchema();
    const { app, tasks, events } = await bootApp([Work, Watch], {
      schema,
      connection,
      queues: [{ name: 'default', concurrency: 2, pollIntervalMs: 10, retention: 'keepAll' }],
    });
    const started = next(events, 'started', 2);
    const enqueued = await tasks.enqueueMany(Work, [1, 2, 3]);
    const running = (await started).map(({ id }) => id);
    const done = next(events, 'done', 2);
    const closed = app.close();
    await closing;
    // A slot becomes free, and stays so.
    const doneOnce = next(events, 'done');
    gates[0].resolve();
    await doneOnce;
    gates[1].resolve();
    await done;
    await closed;
    expect(gates).toHaveLength(2);
    expect(await workers(schema)).toBe(0);
    await gone();
    const after = await bootApp([], { schema, workers: false });
    for (const { id } of enqueued) {
      expect(await found(after.tasks, id)).toMatchObject(
        running.includes(id) ? { state: 'done', attempt: 1 } : { state: 'ready', attempt: 0, claimSeq: 0 },
      );
    }
  });

  it('claims nothing from onModuleDestroy on, though other modules take their time for theirs', async () => {
    const Work = taskOf('work', () => {});
    const proceed = deferred();
    let tasks: TaskQueue | undefined;
    let left: number | undefined;
    @Injectable()
    class Late implements BeforeApplicationShutdown {
      async beforeApplicationShutdown(): Promise<void> {
        await tasks!.enqueueMany(Work, [1, 2, 3]);
        await proceed.promise;
        left = (await tasks!.counts()).ready;
      }
    }
    const { Watch, closing } = watchShutdown();
    const booted = await bootApp([Work, Late, Watch], { defaults: { pollIntervalMs: 10 } });
    tasks = booted.tasks;
    const closed = booted.app.close();
    await closing;
    for (let i = 0; i < 20; i++) await sql('SELECT 1');
    proceed.resolve();
    await closed;
    expect(left).toBe(3);
  });

  const typeOrm = () => TypeOrmModule.forRoot({ type: 'postgres', url: inject('databaseUrl') });
  const backie = (schema: string) =>
    BackieModule.forRootAsync({
      inject: [getDataSourceToken()],
      useFactory: (dataSource: DataSource) => ({ dataSource, schema }),
    });
  const apart = (schema: string) => BackieModule.forRoot({ connection: inject('databaseUrl'), schema });
  it.each([
    { order: 'TypeOrmModule first', imports: (schema: string) => [typeOrm(), backie(schema)] },
    { order: 'BackieModule first', imports: (schema: string) => [backie(schema), typeOrm()] },
    {
      order: 'BackieModule first, with a connection of its own',
      imports: (schema: string) => [apart(schema), typeOrm()],
    },
  ])("leaves the application's DataSource and enqueue usable in a running task: $order", async ({ imports }) => {
    const { Watch, closing } = watchShutdown();
    const seen: unknown[] = [];
    const schema = freshSchema();
    let app: Awaited<ReturnType<typeof bootModule>> | undefined;
    const FollowUp = taskOf('follow-up', () => {});
    const Work = taskOf('work', async () => {
      const tasks = app!.get(TaskQueue);
      const dataSource = app!.get(DataSource);
      await closing;
      seen.push(...(await dataSource.query(`SELECT 'usable' AS state`)));
      seen.push(await tasks.enqueue(FollowUp, 1));
      seen.push(await dataSource.transaction((manager) => tasks.enqueue(FollowUp, 2, { manager })));
      seen.push(await tasks.counts());
    });
    app = await bootModule(moduleOf([Work, FollowUp, Watch], imports(schema)));
    const started = next(app.get(TaskEvents), 'started');
    await app.get(TaskQueue).enqueue(Work);
    await started;
    await app.close();
    expect(seen).toMatchObject([
      { state: 'usable' },
      { duplicate: false },
      { duplicate: false },
      { ready: 2, running: 1 },
    ]);
    const rows = await sql(`SELECT name, attempt FROM "${schema}".task ORDER BY payload`);
    expect(rows).toEqual([1, 2].map(() => ({ name: 'follow-up', attempt: 0 })));
    expect(app.get(DataSource).isInitialized).toBe(false);
  });

  it('aborts what outlasts the grace, and gives it back without using up an attempt or a retry', async () => {
    const reasons: unknown[] = [];
    const Polite = taskOf('polite', async (_payload, { signal }) => {
      reasons.push(await abortReason(signal));
      throw signal.reason;
    });
    const Deaf = taskOf('deaf', (_payload, { signal }) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason));
      return forever();
    });
    const { app, tasks, events, schema } = await bootApp([Polite, Deaf], { shutdownGraceMs: 50 });
    const started = next(events, 'started', 2);
    const ids = [(await tasks.enqueue(Polite)).id, (await tasks.enqueue(Deaf)).id];
    await started;
    await app.close();
    expect(reasons).toHaveLength(2);
    for (const reason of reasons) expect(reason).toBeInstanceOf(ShutdownError);
    const Works = ['polite', 'deaf'].map((name) => taskOf(name, () => {}));
    const after = await bootApp(Works, { schema, workers: false, defaults: { retention: 'keepAll' } });
    for (const id of ids) {
      expect(await found(after.tasks, id)).toMatchObject({
        state: 'ready',
        attempt: 0,
        retries: 0,
        crashes: 0,
        claimSeq: 1,
        workerId: null,
        attempts: [],
      });
    }
    const done = next(after.events, 'done', 2);
    await after.pool.start();
    expect(await done).toMatchObject([{ attempt: 1 }, { attempt: 1 }]);
  });

  it('wakes the workers of other applications for what it gives back', async () => {
    const Hanging = taskOf('hanging', forever);
    const { app, tasks, events, schema } = await bootApp([Hanging], { shutdownGraceMs: 0 });
    const started = next(events, 'started');
    const { id } = await tasks.enqueue(Hanging);
    await started;
    const successor = await bootApp([taskOf('hanging', () => {})], { schema, defaults: { pollIntervalMs: 60_000 } });
    const done = next(successor.events, 'done');
    await app.close();
    expect(await done).toMatchObject([{ id, attempt: 1 }]);
  });

  it('takes little longer than the grace, whatever handlers do', async () => {
    const Deaf = taskOf('deaf', forever);
    const { app, tasks, events } = await bootApp([Deaf], { shutdownGraceMs: 200 });
    const started = next(events, 'started', 10);
    await tasks.enqueueMany(Deaf, Array.from({ length: 30 }));
    await started;
    const before = performance.now();
    await app.close();
    const tookMs = performance.now() - before;
    expect(tookMs).toBeGreaterThanOrEqual(195);
    expect(tookMs).toBeLessThan(2_200);
  });

  it('does not wait for the grace when nothing runs', async () => {
    const { app } = await bootApp([taskOf('work', () => {})]);
    const before = performance.now();
    await app.close();
    expect(performance.now() - before).toBeLessThan(2_000);
  });

  it.each([
    { title: 'is gone', breakIt: (proxy: Awaited<ReturnType<typeof startProxy>>) => proxy.cut() },
    { title: 'no longer answers', breakIt: (proxy: Awaited<ReturnType<typeof startProxy>>) => proxy.freeze() },
  ])('ends within the grace and a few seconds though the database $title', async ({ title, breakIt }) => {
    const proxy = await startProxy();
    const Deaf = taskOf('deaf', forever);
    const { app, tasks, events } = await bootApp([Deaf], { connection: proxy.url, shutdownGraceMs: 100 });
    const started = next(events, 'started');
    await tasks.enqueue(Deaf);
    await started;
    proxy.mode = title === 'is gone' ? 'refuse' : 'silent';
    breakIt(proxy);
    const before = performance.now();
    await app.close();
    expect(performance.now() - before).toBeLessThan(6_000);
  });

  it('may be called twice', async () => {
    const { app } = await bootApp([taskOf('work', () => {})]);
    await Promise.all([app.close(), app.close()]);
    await app.close();
    expect(app.get(WorkerPool).status()).toMatchObject({ state: 'stopped', workerId: null });
  });

  it('leaves a pool that nobody can start again', async () => {
    const { app, pool } = await bootApp([taskOf('work', () => {})]);
    await app.close();
    await expect(pool.start()).rejects.toThrow('closed');
    await pool.drain();
    expect(pool.status().state).toBe('stopped');
  });

  it('ends a pool that is started by hand while it closes', async () => {
    const { Watch, closing } = watchShutdown();
    const { connection, gone } = backends();
    const schema = freshSchema();
    const { app, pool } = await bootApp([taskOf('work', () => {}), Watch], { schema, connection });
    const closed = app.close();
    await closing;
    const restarted = pool.start().catch(() => {});
    await closed;
    await restarted;
    expect(pool.status()).toMatchObject({ state: 'stopped', workerId: null });
    expect(await workers(schema)).toBe(0);
    await gone();
  });
});
