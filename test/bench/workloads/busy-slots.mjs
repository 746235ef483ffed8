import { setTimeout as delay } from 'node:timers/promises';
import { tuned } from '../adapters/index.mjs';

const processes = 4;
const concurrency = 100;
const handlerMs = 50;

/**
 * W11: handlers that take 50 ms. In a window in which all processes work: how much of the time of all slots was filled,
 * and how much less than the average the slowest process did.
 */
export default {
  id: 'W11',
  about: 'Handlers of 50 ms, concurrency 100, 4 processes: how busy the slots are, and how evenly the work is shared.',
  adapters: tuned,
  once: true,
  cases: ({ scale }) => [
    {
      id: 'W11',
      rows: [
        { id: 'W11.busy', title: 'W11 slots busy', unit: '%' },
        { id: 'W11.fairness', title: 'W11 work of the least busy process, of an equal share', unit: '%' },
      ],
      windowMs: Math.max(1_000, 5_000 * scale),
    },
  ],

  async measure(session, { windowMs }) {
    // Enough for the window, what comes before it and some more.
    const total = Math.round(processes * concurrency * ((windowMs + 5_000) / handlerMs));
    const producer = await session.producer({ total: 0 });
    await producer.call('enqueueAll', { count: total });
    await session.retire(producer);
    const options = { total, concurrency, handlerMs };
    const workers = await Promise.all(Array.from({ length: processes }, () => session.worker(options)));
    await Promise.all(workers.map((worker) => worker.call('start')));
    for (const worker of workers) await session.ended([worker], 1);
    const meter = session.meter(...workers);
    await delay(1_000);
    const from = Number(process.hrtime.bigint()) / 1e6;
    await meter.start();
    await delay(windowMs);
    const to = Number(process.hrtime.bigint()) / 1e6;
    const windows = await Promise.all(workers.map((worker) => worker.call('busy', { from, to })));
    const ended = windows.reduce((sum, window) => sum + window.ended, 0);
    await meter.stop(ended);
    await session.verify(workers, total);
    const busyMs = windows.reduce((sum, window) => sum + window.ms, 0);
    return {
      'W11.busy': (busyMs / ((to - from) * processes * concurrency)) * 100,
      'W11.fairness': (Math.min(...windows.map((window) => window.ended)) / (ended / processes)) * 100,
    };
  },
};
