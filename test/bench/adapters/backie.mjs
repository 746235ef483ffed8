/**
 * nestjs-backie as an application uses it: a module, a decorated class, TaskQueue. Decorators are called by hand, since
 * this is no TypeScript.
 *
 * The application is booted by `open` with `workers: false`, and `start` is WorkerPool's own: so the clock of a drain
 * does not run while Nest scans modules.
 */
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

/**
 * @param {import('./index.mjs').Place} place
 * @param {Record<string, any> & { library?: string }} settings The module's options; and what it is installed as.
 * @returns {Promise<import('./index.mjs').Adapter>}
 */
export async function create({ url }, { library = 'nestjs-backie', ...settings }) {
  const { BackgroundTask, BackieModule, TaskQueue, WorkerPool } = await import(library);
  /** @type {import('@nestjs/common').INestApplicationContext} */
  let app;
  let tasks;
  let handle = async (/** @type {import('./index.mjs').Payload} */ _payload) => {};

  class Noop {
    run(/** @type {import('./index.mjs').Payload} */ payload) {
      return handle(payload);
    }
  }
  BackgroundTask('noop')(Noop);

  async function boot(options = {}) {
    class AppModule {}
    Module({
      imports: [BackieModule.forRoot({ connection: url, workers: false, ...settings, ...options })],
      providers: [Noop],
    })(AppModule);
    app = await NestFactory.createApplicationContext(AppModule, { logger: ['error', 'warn'] });
    tasks = app.get(TaskQueue);
  }

  return {
    async setup() {
      await boot();
      await app.close();
    },
    async open({ handler, concurrency }) {
      handle = handler;
      await boot(concurrency ? { queues: [{ name: 'default', concurrency }] } : {});
    },
    enqueueOne: (payload) => tasks.enqueue(Noop, payload),
    enqueueMany: (payloads, { delayMs }) => tasks.enqueueMany(Noop, payloads, delayMs ? { delayMs } : {}),
    start: () => app.get(WorkerPool).start(),
    stop: () => app.close(),
    async unfinished() {
      const { ready, running, failed } = await tasks.counts();
      return ready + running + failed;
    },
  };
}
