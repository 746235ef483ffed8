import { percentile } from '../harness/statistics.mjs';

const gapMs = 20;
const warmUp = 50;

/**
 * W4: from the call of enqueue to the start of the handler, one task each 20 ms, the worker idle in between. In W4 one
 * process does both, in W4b the worker is another process.
 *
 * nestjs-backie's task may start before the disk has it, in W4 always, and in W4b before it has the claim; its enqueue
 * resolves once the disk has the task.
 */
export default {
  id: 'W4',
  about: 'From the call of enqueue to the start of the handler, worker idle: in one process (W4), in two (W4b).',
  adapters: ['backie', 'graphile', 'graphile-tuned', 'pgboss-tuned', 'bullmq-pg', 'bullmq-redis', 'ceiling'],
  // From process to process it differs by more than from task to task.
  times: 3,
  cases: ({ quick, scale }) =>
    ['W4', 'W4b'].map((id) => ({
      id,
      rows: ['p50', 'p99'].map((p) => ({
        id: `${id}.${p}`,
        title: `${id} enqueue → start${id === 'W4b' ? ', two processes' : ''}, ${p}`,
        unit: 'ms',
      })),
      samples: Math.max(20, Math.round((quick ? 100 : 300) * scale)),
      // In two processes only what the targets speak of, when time is short.
      without: quick && id === 'W4b' ? ['graphile-tuned', 'pgboss-tuned', 'ceiling'] : [],
    })),

  async measure(session, { id, samples }) {
    const total = warmUp + samples;
    const first = await session.agent();
    await first.call('setup');
    await first.call('open', { total, work: id === 'W4' });
    const worker = id === 'W4' ? first : await session.worker({ total });
    await worker.call('start');
    // Let everything that a start sets off settle.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const meter = session.meter(...new Set([first, worker]));
    await meter.start();
    const { p50, p99 } = await measureLatency(session, { producer: first, worker, from: 0, samples });
    await meter.stop(total);
    if (worker !== first) await session.retire(first);
    await session.verify([worker], total);
    return { [`${id}.p50`]: p50, [`${id}.p99`]: p99 };
  },
};

/**
 * Sends a warm-up and `samples` tasks, numbered on from `from`.
 *
 * @param {import('../harness/session.mjs').Session} session
 */
export async function measureLatency(session, { producer, worker, from, samples }) {
  const count = warmUp + samples;
  const calls = await producer.call('trickle', { from, count, gapMs });
  await session.ended([worker], from + count);
  const began = await worker.call('began', { from, count });
  const waits = began.map((at, i) => at - calls[i]).slice(warmUp);
  return { p50: percentile(waits, 0.5), p99: percentile(waits, 0.99), count };
}
