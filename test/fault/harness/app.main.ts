/** An application under test: a child process that works, enqueues, or both, until a signal or a fault ends it. */
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import type { Observable } from 'rxjs';
import { TaskEvents, TaskQueue, WorkerPool } from 'nestjs-backie';
import type { AppSettings, EventCounts, FromApp, ToApp } from './app.protocol.js';
import { AppModule } from './app.module.js';
import { produce } from './producer.js';

const reportEveryMs = 200;
const settings = JSON.parse(process.env['BACKIE_FAULT_APP']!) as AppSettings;

// Without the harness there is nobody to work for.
process.once('disconnect', () => process.exit(2));
const tell = (message: FromApp) => {
  if (process.connected) process.send!(message);
};

const counts: EventCounts = { started: 0, done: 0, retrying: 0, failed: 0, cancelled: 0, rescued: 0, lost: 0 };
const report = () => tell({ kind: 'report', counts, rssBytes: process.memoryUsage.rss() });
setInterval(report, reportEveryMs).unref();

const apps = await Promise.all(
  Array.from({ length: settings.apps }, () => NestFactory.create(AppModule.of(settings), { abortOnError: false })),
);
for (const app of apps) {
  // Before it starts, as `app.listen()` would: a signal may come while it does.
  app.enableShutdownHooks();
  const events = app.get(TaskEvents);
  for (const kind of Object.keys(counts) as (keyof EventCounts)[]) {
    const happened: Observable<unknown> = events[kind];
    happened.subscribe(() => counts[kind]++);
  }
}
await Promise.all(apps.map((app) => app.init()));
const queue = apps[0].get(TaskQueue);
const pool = apps[0].get(WorkerPool);

process.on('message', (message: ToApp) => {
  const done = message.kind === 'load' ? load(message.load) : enqueueWhileDraining();
  done.catch((error: unknown) => tell({ kind: 'trouble', message: String(error) }));
});
tell({ kind: 'ready' });

async function load(wanted: Parameters<typeof produce>[1]): Promise<void> {
  const unanswered = await produce(queue, wanted, (ids) => tell({ kind: 'enqueued', ids }));
  tell({ kind: 'loaded', unanswered });
}

/** Drains the pool while a task runs that outlasts the grace, and enqueues all the while. */
async function enqueueWhileDraining(): Promise<void> {
  const drained = pool.drain();
  const result = produce(queue, { tasks: 200, works: [{ do: 'wait', ms: 1 }], overMs: 500 }, (ids) =>
    tell({ kind: 'enqueued', ids }),
  );
  await drained;
  tell({ kind: 'loaded', unanswered: await result });
}
