import { setTimeout as delay } from 'node:timers/promises';
import { StoreUnavailableError, type TaskQueue } from 'nestjs-backie';
import type { Load, Work } from './app.protocol.js';
import { TransferTask, WorkTask } from './app.module.js';

const everyMs = 25;

/**
 * Enqueues a load at an even pace and tells of each acknowledged id. Like a careful caller it asks again when the
 * database did not answer; whether the first call was stored is then unknown, and so both may be.
 *
 * @returns How many calls found the database unavailable.
 */
export async function produce(queue: TaskQueue, load: Load, acknowledged: (ids: string[]) => void): Promise<number> {
  const { tasks, works, overMs, atOnce = 1, task = 'work' } = load;
  const calls: Promise<void>[] = [];
  let unanswered = 0;
  const persist = async (batch: readonly Work[]): Promise<void> => {
    for (;;) {
      try {
        return acknowledged(await enqueue(queue, task === 'work' ? WorkTask : TransferTask, batch));
      } catch (error) {
        if (!(error instanceof StoreUnavailableError)) throw error;
        unanswered++;
      }
    }
  };
  const startedAt = performance.now();
  for (let sent = 0; sent < tasks;) {
    const share = overMs > 0 ? Math.min(1, (performance.now() - startedAt + everyMs) / overMs) : 1;
    for (const due = Math.ceil(share * tasks); sent < due;) {
      const batch = Array.from({ length: Math.min(atOnce, tasks - sent) }, (_, i) => works[(sent + i) % works.length]);
      calls.push(persist(batch));
      sent += batch.length;
    }
    if (sent < tasks) await delay(everyMs);
  }
  await Promise.all(calls);
  return unanswered;
}

async function enqueue(
  queue: TaskQueue,
  task: typeof WorkTask | typeof TransferTask,
  batch: readonly Work[],
): Promise<string[]> {
  const stored = batch.length === 1 ? [await queue.enqueue(task, batch[0])] : await queue.enqueueMany(task, batch);
  return stored.map(({ id }) => id);
}
