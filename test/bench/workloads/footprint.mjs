import { setTimeout as delay } from 'node:timers/promises';
import { variants } from '../adapters/index.mjs';

const adapters = Object.keys(variants).filter((name) => !name.includes('-tuned') && !name.includes('keepall'));

/** What a queue adds to a bare Nest application: memory of an idle worker, and time until the first task begins. */
export default {
  id: 'start',
  about: 'Start of a worker and memory of an idle one, both above a bare Nest application; the tables are there.',
  adapters,
  once: true,
  cases: () => [
    {
      id: 'start',
      rows: [
        { id: 'start.first', title: 'start: boot → first task begins, above a bare app', unit: 'ms' },
        { id: 'start.load', title: 'start: loading the modules, above a bare app', unit: 'ms' },
        { id: 'memory.rss', title: 'memory: idle worker above a bare app, resident', unit: 'MB' },
        { id: 'memory.heap', title: 'memory: idle worker above a bare app, heap', unit: 'MB' },
      ],
    },
  ],

  async measure(session) {
    const bare = await session.agent({ load: false, exposeGc: true });
    const nest = await bare.call('bareNest');
    const floor = await bare.call('memory');

    const producer = await session.producer({ total: 0 });
    await producer.call('enqueueAll', { count: 1 });
    await session.retire(producer);
    const worker = await session.agent({ load: false, exposeGc: true });
    // A peer has no Nest of its own, but an application that uses it has.
    const own = session.adapter === 'backie' ? { loadMs: 0, bootMs: 0 } : await worker.call('bareNest').then(timesOf);
    const boot = await worker.call('firstTask', { total: 1 });
    // A worker is idle when it has had nothing to do for a while.
    await delay(25_000);
    const memory = await worker.call('memory');
    await session.verify([worker], 1);

    const app = timesOf(nest);
    return {
      'start.first': boot.first - boot.loaded + own.bootMs - app.bootMs,
      'start.load': boot.loaded - boot.begun + own.loadMs - app.loadMs,
      'memory.rss': (memory.rss - floor.rss) / 1048576,
      'memory.heap': (memory.heapUsed - floor.heapUsed) / 1048576,
    };
  },
};

function timesOf({ begun, loaded, ready }) {
  return { loadMs: loaded - begun, bootMs: ready - loaded };
}
