import { expect, it } from 'vitest';
import { startProxy } from '../../fixtures/proxy.js';
import { bootApp, next, sql } from '../../support/app.js';
import { taskOf } from '../../support/tasks.js';

const keepAll = { defaults: { retention: 'keepAll' as const } };

interface Row {
  readonly id: string;
  readonly state: string;
}

async function rows(schema: string): Promise<Row[]> {
  return sql<Row>(`
    SELECT id, 'live' AS state FROM "${schema}".task UNION ALL SELECT id, state FROM "${schema}".finished_task
    ORDER BY id`);
}

it.each([
  ['one', /backie_commit/, 1, {}],
  ['one with a unique key', /backie_enqueueUnique/, 1, { uniqueKey: 'key' }],
  ['many', /backie_enqueue(Bulk|Quietly)/, 3, {}],
  ['more than one statement carries', /backie_commit/, 1_001, {}],
] as const)(
  'stores once what it was asked to store, %s, though the replies to two commits are lost',
  async (_, statement, count, options) => {
    const proxy = await startProxy();
    const { tasks, schema } = await bootApp([], { connection: proxy.url, workers: false, ...keepAll });
    // The second try is a transaction, which looks for what the first one has stored.
    const lost = Promise.all([proxy.loseReplyTo(statement), proxy.loseReplyTo(/backie_commit/)]);
    const enqueued =
      count === 1
        ? [await tasks.enqueue('work', null, options)]
        : await tasks.enqueueMany('work', Array.from({ length: count }), options);
    await lost;
    expect(enqueued).toHaveLength(count);
    expect(enqueued.filter(({ duplicate }) => duplicate)).toEqual([]);
    expect(await rows(schema)).toEqual(enqueued.map(({ id }) => ({ id, state: 'live' })).toSorted(byId));
  },
);

it('runs a kept task once that has ended when its enqueue is repeated', async () => {
  let runs = 0;
  const Work = taskOf('work', () => runs++);
  const worker = await bootApp([Work], keepAll);
  const proxy = await startProxy();
  const { tasks, schema } = await bootApp([], { connection: proxy.url, workers: false, schema: worker.schema });
  const done = next(worker.events, 'done');
  const lost = proxy.loseReplyTo(/backie_commit/);
  const enqueued = tasks.enqueue('work');
  await lost;
  const [{ id }] = await done;
  expect(await enqueued).toEqual({ id, duplicate: false });
  expect(await rows(schema)).toEqual([{ id, state: 'done' }]);
  expect(runs).toBe(1);
});

it('runs again what replaced a task that has ended when its enqueue is repeated, even where that is kept', async () => {
  const payloads: unknown[] = [];
  const Work = taskOf('work', (payload) => void payloads.push(payload));
  const worker = await bootApp([Work], keepAll);
  const proxy = await startProxy();
  const { tasks, schema } = await bootApp([], { connection: proxy.url, workers: false, schema: worker.schema });
  const unique = { key: 'key', onConflict: 'replace' } as const;
  const waiting = await worker.tasks.enqueue('work', 'old', { delayMs: 600_000, unique });
  const lost = proxy.loseReplyTo(/replace/i);
  const dones = next(worker.events, 'done', 2);
  const enqueued = tasks.enqueue('work', 'new', { delayMs: 0, unique });
  await lost;
  const [first, second] = await dones;
  expect(first.id).toBe(waiting.id);
  expect(await enqueued).toEqual({ id: second.id, duplicate: false });
  expect(payloads).toEqual(['new', 'new']);
  expect(await rows(schema)).toHaveLength(2);
});

function byId(one: Row, other: Row): number {
  return one.id < other.id ? -1 : 1;
}
