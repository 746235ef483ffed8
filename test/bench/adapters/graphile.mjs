/** graphile-worker. By default it prints a line for each job; here it does not, which is to its advantage. */
import { Logger, makeWorkerUtils, run, runMigrations, WorkerPreset } from 'graphile-worker';

/**
 * @param {import('./index.mjs').Place} place
 * @param {{ concurrency: number, worker?: object }} settings
 * @returns {import('./index.mjs').Adapter}
 */
export function create({ url }, settings) {
  const presetOf = (/** @type {number} */ concurrentJobs) => ({
    extends: [WorkerPreset],
    worker: {
      connectionString: url,
      concurrentJobs,
      // Its own advice: 10, or two more than concurrentJobs.
      maxPoolSize: Math.max(10, concurrentJobs + 2),
      logger: new Logger(() => () => {}),
      ...settings.worker,
    },
  });
  let preset = presetOf(settings.concurrency);
  /** @type {import('graphile-worker').WorkerUtils} */
  let utils;
  /** @type {import('graphile-worker').Runner} Once started. */
  let runner;
  /** @type {(payload: import('./index.mjs').Payload) => Promise<void>} */
  let handle;

  return {
    setup: () => runMigrations({ preset }),
    async open({ handler, concurrency }) {
      handle = handler;
      if (concurrency) {
        preset = presetOf(concurrency);
        preset.worker.maxPoolSize = Math.max(preset.worker.maxPoolSize, 25);
      }
      utils = await makeWorkerUtils({ preset });
    },
    enqueueOne: (payload) => utils.addJob('noop', payload),
    enqueueMany: (payloads, { delayMs }) => {
      const runAt = delayMs ? new Date(Date.now() + delayMs) : undefined;
      return utils.addJobs(payloads.map((payload) => ({ identifier: 'noop', payload, runAt })));
    },
    async start() {
      runner = await run({ preset, noHandleSignals: true, taskList: { noop: (payload) => handle(payload) } });
    },
    async stop() {
      await runner?.stop();
      await utils.release();
    },
    async unfinished() {
      const sql = 'SELECT count(*)::int AS n FROM graphile_worker.jobs';
      const { rows } = await utils.withPgClient((client) => client.query(sql));
      return rows[0].n;
    },
  };
}
