import type { Provider } from '@nestjs/common';
import {
  BackieModule,
  type BackieModuleOptions,
  type BackieOptionsFactory,
  getTaskQueueToken,
  getWorkerPoolToken,
  MemoryTaskStore,
  type TaskEvents,
  type TaskQueue,
  type WorkerPool,
} from 'nestjs-backie';
import { DataSource } from 'typeorm';

/** Nothing of this runs: see enqueue.ts. */

class Settings {
  readonly url = 'postgres://localhost/app';
}

class OptionsFactory implements BackieOptionsFactory {
  createBackieOptions(): BackieModuleOptions {
    return { workers: false };
  }
}

export const modules = (dataSource: DataSource) => [
  BackieModule.forRoot(),
  BackieModule.forRoot({}),
  BackieModule.forRoot({ dataSource, queues: [{ name: 'email', concurrency: 20 }] }),
  BackieModule.forRoot({ connection: 'postgres://localhost/app', name: 'reports', isGlobal: false }),
  BackieModule.forRoot({ connection: { host: 'localhost', port: 5432, database: 'app', ssl: true } }),
  BackieModule.forRoot({ store: new MemoryTaskStore(), migrations: 'off' }),
  BackieModule.forRootAsync({
    name: 'reports',
    isGlobal: false,
    imports: [],
    inject: [DataSource, Settings],
    useFactory: (source: DataSource, { url }: Settings) => (url ? { connection: url } : { dataSource: source }),
  }),
  BackieModule.forRootAsync({ useFactory: async () => Promise.resolve({ schema: 'tasks' }) }),
  BackieModule.forRootAsync({ useClass: OptionsFactory }),
  BackieModule.forRootAsync({ useExisting: OptionsFactory }),
];

export const mistakes = () => [
  // @ts-expect-error There is no such option.
  BackieModule.forRoot({ queue: [] }),
  // @ts-expect-error A queue has a name.
  BackieModule.forRoot({ queues: [{ concurrency: 2 }] }),
  // @ts-expect-error There is no such retention.
  BackieModule.forRoot({ queues: [{ name: 'email', retention: 'keepDone' }] }),
  // @ts-expect-error There is no such mode.
  BackieModule.forRoot({ migrations: 'auto' }),
  // @ts-expect-error Its method has another name.
  BackieModule.forRootAsync({ useClass: Settings }),
  // @ts-expect-error There is no such option.
  BackieModule.forRootAsync({ useFactory: () => ({ schema: 1 }) }),
];

/** A token carries the type of what it stands for. */
export const providers: Provider[] = [
  {
    provide: 'reports',
    inject: [getTaskQueueToken('reports'), getWorkerPoolToken('reports')],
    useFactory: (tasks: TaskQueue, pool: WorkerPool) => [tasks, pool],
  },
];

export function listens(events: TaskEvents): void {
  events.done.subscribe(({ id, attempt, durationMs }) => [id.length, attempt.toFixed(), durationMs.toFixed()]);
  events.enqueued.subscribe(({ id, duplicate }) => [id.length, duplicate]);
  // @ts-expect-error A task that is enqueued has no attempt.
  events.enqueued.subscribe(({ attempt }) => attempt);
  // @ts-expect-error What was thrown may be anything.
  events.failed.subscribe(({ error }) => error.message);
}
