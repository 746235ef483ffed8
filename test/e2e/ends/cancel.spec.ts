import { expect, it } from 'vitest';
import { startWorker } from '../../fixtures/worker-process.js';
import { bootApp, freshSchema, sql } from '../../support/app.js';
import { found, until } from '../../support/tasks.js';

it('aborts a task of another process within a second, and its handler tidies up', async () => {
  const schema = freshSchema();
  const workers = await Promise.all([startWorker({ schema }), startWorker({ schema })]);
  const { tasks } = await bootApp([], { schema, workers: false });
  for (let round = 0; round < 3; round++) {
    const started = Promise.race(workers.map((worker) => worker.next('started')));
    const tidied = Promise.race(workers.map((worker) => worker.next('tidied')));
    const { id } = await tasks.enqueue('tidy');
    await started;
    const wishedAt = Date.now();
    expect(await tasks.cancel(id)).toBe(true);
    const [{ abortedAt, ...told }] = await tidied;
    expect(told).toEqual({ kind: 'tidied', id, reason: 'TaskCancelledError' });
    expect(abortedAt - wishedAt).toBeLessThan(1_000);
    const task = await until(
      () => found(tasks, id),
      ({ state }) => state === 'cancelled',
    );
    expect(task.attempts).toMatchObject([{ number: 1, outcome: 'cancelled', error: { name: 'TaskCancelledError' } }]);
  }
});

it('aborts it within a second when the notification was lost', async () => {
  const schema = freshSchema();
  const worker = await startWorker({ schema });
  const { tasks } = await bootApp([], { schema, workers: false });
  for (let round = 0; round < 3; round++) {
    const [started, tidied] = [worker.next('started'), worker.next('tidied')];
    const { id } = await tasks.enqueue('tidy');
    await started;
    const wishedAt = Date.now();
    // The notification is part of the statement, so a wish without one has to be written by hand.
    await sql(`UPDATE "${schema}"."task" SET "cancel_keep_ms" = 60000 WHERE "id" = $1`, [id]);
    const [{ abortedAt }] = await tidied;
    expect(abortedAt - wishedAt).toBeLessThan(1_000);
  }
});
