import { setTimeout as delay } from 'node:timers/promises';
import { cpuMsOf } from '../harness/processes.mjs';
import { variants } from '../adapters/index.mjs';

const settleMs = 10_000;

/** W7: what a worker costs that has nothing to do. */
export default {
  id: 'W7',
  about: 'An idle worker for 20 s: transactions (Redis: commands) a second, CPU of its process and of the server.',
  adapters: Object.keys(variants).filter((name) => name !== 'backie-keepall'),
  once: true,
  cases: ({ scale }) => [
    {
      id: 'W7',
      rows: [
        { id: 'W7.statements', title: 'W7 idle: transactions', unit: '/s' },
        { id: 'W7.cpu', title: 'W7 idle: CPU of one core, worker and server', unit: '%' },
      ],
      ms: Math.max(2_000, 20_000 * scale),
    },
  ],

  async measure(session, { ms }) {
    const setup = await session.agent();
    await setup.call('setup');
    await setup.end();
    const start = await idle(session, 0);
    const both = await idle(session, ms);
    await session.verify([], 0);
    const transactions = session.onPostgres ? both.wholeLife - start.wholeLife : both.meanwhile;
    return { 'W7.statements': (transactions / ms) * 1000, 'W7.cpu': (both.cpuMs / ms) * 100 };
  },
};

/**
 * The life of a worker that idles for `ms` milliseconds, after ten seconds in which it settles, as a start has more to look for. PostgreSQL counts a
 * connection's transactions for sure only when it has ended, so a life with the wait and one without it are compared;
 * Redis counts its commands at once.
 */
async function idle(session, ms) {
  const born = await session.settledTransactions();
  const worker = await session.worker({ total: 1 });
  await worker.call('start');
  await delay(settleMs);
  const before = { cpuMs: await cpuMs(session, worker), transactions: await session.transactions() };
  await delay(ms);
  const after = { cpuMs: await cpuMs(session, worker), transactions: await session.transactions() };
  await session.retire(worker);
  return {
    wholeLife: (await session.settledTransactions()) - born,
    meanwhile: after.transactions - before.transactions,
    cpuMs: after.cpuMs - before.cpuMs,
  };
}

async function cpuMs(session, worker) {
  return (await worker.call('usage')).cpuMs + (cpuMsOf(session.serverPid) ?? 0);
}
