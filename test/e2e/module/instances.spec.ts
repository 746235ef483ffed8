import { Injectable, Module } from '@nestjs/common';
import {
  BackgroundTask,
  type BackgroundTaskHandler,
  BackieModule,
  getTaskEventsToken,
  getTaskQueueToken,
  getTaskStoreToken,
  getWorkerPoolToken,
  type TaskEvents,
  TaskQueue,
  TaskStore,
  UnknownTaskError,
  WorkerPool,
  TaskEvents as DefaultTaskEvents,
} from 'nestjs-backie';
import { describe, expect, inject, it } from 'vitest';
import { bootModule, freshDatabase, freshSchema, moduleOf, next, shared } from '../../support/app.js';

class Recorder {
  readonly payloads: unknown[] = [];

  run(payload: unknown): void {
    this.payloads.push(payload);
  }
}

@BackgroundTask('report')
class Report extends Recorder implements BackgroundTaskHandler {}

@BackgroundTask('report', { instance: 'archive' })
class ArchiveReport extends Recorder implements BackgroundTaskHandler {}

@BackgroundTask('only-in-archive', { instance: 'archive' })
class OnlyInArchive extends Recorder implements BackgroundTaskHandler {}

@BackgroundTask('report', { instance: 'audit', queue: 'slow' })
class AuditReport extends Recorder implements BackgroundTaskHandler {}

describe('two named instances beside the default one', () => {
  const context = shared(async () => {
    const connection = await freshDatabase();
    const app = await bootModule(
      moduleOf(
        [Report, ArchiveReport, OnlyInArchive, AuditReport],
        [
          BackieModule.forRoot({ connection }),
          BackieModule.forRoot({ name: 'archive', connection }),
          BackieModule.forRoot({ name: 'audit', connection, queues: [{ name: 'slow' }] }),
        ],
      ),
    );
    const of = (name?: string) => ({
      tasks: app.get<TaskQueue>(getTaskQueueToken(name)),
      events: app.get<TaskEvents>(getTaskEventsToken(name)),
      pool: app.get<WorkerPool>(getWorkerPoolToken(name)),
      store: app.get<TaskStore>(getTaskStoreToken(name)),
    });
    return { app, main: of(), archive: of('archive'), audit: of('audit') };
  });

  it('runs the tasks of one name each in its own instance', async () => {
    const { app, main, archive, audit } = context();
    const done = Promise.all([main, archive, audit].map(({ events }) => next(events, 'done')));
    await main.tasks.enqueue(Report, 'main');
    await archive.tasks.enqueue(ArchiveReport, 'archive');
    await audit.tasks.enqueue(AuditReport, 'audit');
    await done;
    expect(app.get(Report).payloads).toEqual(['main']);
    expect(app.get(ArchiveReport).payloads).toEqual(['archive']);
    expect(app.get(AuditReport).payloads).toEqual(['audit']);
  });

  it('shows one instance nothing of the tasks of another', async () => {
    const { main, archive, audit } = context();
    const { id } = await archive.tasks.enqueue(OnlyInArchive, 1, { delayMs: 60_000 });
    expect((await archive.tasks.find(id))?.name).toBe('only-in-archive');
    for (const { tasks } of [main, audit]) {
      expect(await tasks.find(id)).toBeNull();
      expect(await tasks.cancel(id)).toBe(false);
      expect(await tasks.counts()).toMatchObject({ ready: 0 });
    }
    expect(await archive.tasks.cancel(id)).toBe(true);
  });

  it('refuses a task class of another instance and names the TaskQueue to inject', async () => {
    const { main, archive } = context();
    await expect(main.tasks.enqueue(ArchiveReport, 1)).rejects.toThrow(UnknownTaskError);
    await expect(main.tasks.enqueue(ArchiveReport, 1)).rejects.toThrow(
      /ArchiveReport.*"archive".*getTaskQueueToken\("archive"\)/,
    );
    await expect(archive.tasks.enqueueMany(Report, [1])).rejects.toThrow(/Report.*"default"/);
    expect(await archive.tasks.counts()).toMatchObject({ ready: 0 });
  });

  it("knows a bare name only by its own instance's tasks", async () => {
    const { main, audit } = context();
    const { id } = await audit.tasks.enqueue('report', 1, { delayMs: 60_000 });
    expect((await audit.tasks.find(id))?.queue).toBe('slow');
    const elsewhere = await main.tasks.enqueue('only-in-archive', 1);
    const done = next(main.events, 'done');
    await main.tasks.enqueue(Report, 'later');
    await done;
    expect(await main.tasks.find(elsewhere.id)).toMatchObject({ state: 'ready', attempt: 0, queue: 'default' });
  });

  it('gives the default instance under the classes themselves', () => {
    const { app, main, archive } = context();
    expect(app.get(TaskQueue)).toBe(main.tasks);
    expect(app.get(DefaultTaskEvents)).toBe(main.events);
    expect(app.get(WorkerPool)).toBe(main.pool);
    expect(app.get(TaskStore)).toBe(main.store);
    expect(archive.pool).not.toBe(main.pool);
    expect(archive.store).not.toBe(main.store);
  });

  it('starts and stops each on its own', async () => {
    const { main, archive } = context();
    await archive.pool.drain();
    expect(archive.pool.status().state).toBe('stopped');
    expect(main.pool.status().state).toBe('running');
    await archive.pool.start();
    expect(archive.pool.status().state).toBe('running');
  });
});

it('leaves the tasks of an instance that the application does not import alone', async () => {
  const module = moduleOf(
    [ArchiveReport],
    [BackieModule.forRoot({ connection: inject('databaseUrl'), schema: freshSchema() })],
  );
  const app = await bootModule(module);
  await expect(app.get(TaskQueue).enqueue(ArchiveReport, 1)).rejects.toThrow(UnknownTaskError);
});

describe('isGlobal: false', () => {
  @Injectable()
  class Producer {
    constructor(readonly tasks: TaskQueue) {}
  }

  @Module({ providers: [Producer] })
  class ElsewhereModule {}

  const local = () =>
    BackieModule.forRoot({ isGlobal: false, connection: inject('databaseUrl'), schema: freshSchema() });

  it('gives TaskQueue to the modules that import it, and runs the handlers of all', async () => {
    @Module({ providers: [Report] })
    class HandlersModule {}
    const app = await bootModule(moduleOf([Producer], [local(), HandlersModule]));
    const done = next(app.get(DefaultTaskEvents), 'done');
    await app.get(Producer).tasks.enqueue(Report, 'local');
    await done;
    expect(app.get(Report, { strict: false }).payloads).toEqual(['local']);
  });

  it('gives it to no other module', async () => {
    await expect(bootModule(moduleOf([], [local(), ElsewhereModule]))).rejects.toThrow(
      /dependencies of the .*Producer/,
    );
  });

  it('is not the default', async () => {
    const global = BackieModule.forRoot({ connection: inject('databaseUrl'), schema: freshSchema() });
    const app = await bootModule(moduleOf([], [global, ElsewhereModule]));
    expect(app.get(Producer, { strict: false }).tasks).toBe(app.get(TaskQueue));
  });
});
