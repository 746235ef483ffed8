import { expect, it } from 'vitest';
import { bootApp, next, openDataSource } from '../../support/app.js';
import { taskOf } from '../../support/tasks.js';

it('lets nothing else wait for a transaction that holds a unique key', async () => {
  const dataSource = await openDataSource();
  const Work = taskOf('work', () => {}, {});
  const { tasks, events } = await bootApp([Work], { dataSource, queues: [{ name: 'default', concurrency: 1 }] });
  let others: Promise<{ id: string; duplicate: boolean }[]> | undefined;
  const holder = await dataSource.transaction(async (manager) => {
    const held = await tasks.enqueue('work', 1, { uniqueKey: 'held', manager });
    // As many as there are connections for them, and more.
    others = Promise.all(Array.from({ length: 5 }, () => tasks.enqueue('work', 2, { uniqueKey: 'held' })));
    const done = next(events, 'done', 2);
    await tasks.enqueue('work', 3);
    await tasks.enqueue('work', 4, { uniqueKey: 'free' });
    expect(await done).toHaveLength(2);
    await tasks.pause('default');
    return held;
  });
  expect(await others).toEqual(Array.from({ length: 5 }, () => ({ id: holder.id, duplicate: true })));
});
