import { BackgroundTask, type BackgroundTaskHandler } from 'nestjs-backie';
import {
  addTransactionalDataSource,
  initializeTransactionalContext,
  Propagation,
  runInTransaction,
  StorageDriver,
} from 'typeorm-transactional';
import { expect, it, onTestFinished } from 'vitest';
import { bootApp, liveTasks, openDataSource, shared } from '../../support/app.js';

@BackgroundTask('work')
class Work implements BackgroundTaskHandler<string> {
  run(): void {}
}

initializeTransactionalContext({ storageDriver: StorageDriver.ASYNC_LOCAL_STORAGE });

const context = shared(async () => {
  const dataSource = await openDataSource();
  addTransactionalDataSource(dataSource);
  return { dataSource, ...(await bootApp([Work], { dataSource, workers: false })) };
});

/** How many tasks are stored, and how many TaskEvents told of, since the test began. */
async function watch() {
  const { events, schema } = context();
  const before = await liveTasks(schema);
  let announced = 0;
  const subscription = events.enqueued.subscribe(() => announced++);
  onTestFinished(() => subscription.unsubscribe());
  return async () => ({ stored: (await liveTasks(schema)) - before, announced });
}

it('joins an ambient transaction unasked, and commits with it', async () => {
  const { tasks } = context();
  const counts = await watch();
  await runInTransaction(async () => {
    await tasks.enqueue(Work, 'one');
    await tasks.enqueueMany(Work, ['two', 'three']);
    expect(await counts()).toEqual({ stored: 0, announced: 0 });
  });
  expect(await counts()).toEqual({ stored: 3, announced: 3 });
});

it('rolls back with it', async () => {
  const { tasks } = context();
  const counts = await watch();
  const transaction = runInTransaction(async () => {
    await tasks.enqueue(Work, 'one');
    await tasks.enqueueMany(Work, ['two', 'three']);
    throw new Error('changed my mind');
  });
  await expect(transaction).rejects.toThrow('changed my mind');
  expect(await counts()).toEqual({ stored: 0, announced: 0 });
});

it('is outside of it where the ambient transaction is suspended', async () => {
  const { tasks } = context();
  const counts = await watch();
  const transaction = runInTransaction(async () => {
    await tasks.enqueue(Work, 'inside');
    await runInTransaction(() => tasks.enqueue(Work, 'outside'), { propagation: Propagation.NOT_SUPPORTED });
    await runInTransaction(() => tasks.enqueue(Work, 'on its own'), { propagation: Propagation.REQUIRES_NEW });
    expect(await counts()).toEqual({ stored: 2, announced: 2 });
    throw new Error('changed my mind');
  });
  await expect(transaction).rejects.toThrow('changed my mind');
  expect(await counts()).toEqual({ stored: 2, announced: 2 });
});

it('follows a manager that is given rather than the ambient transaction', async () => {
  const { tasks, dataSource } = context();
  const counts = await watch();
  const runner = dataSource.createQueryRunner();
  onTestFinished(() => runner.release());
  await runner.startTransaction();
  await runInTransaction(() => tasks.enqueue(Work, 'elsewhere', { manager: runner.manager }));
  expect(await counts()).toEqual({ stored: 0, announced: 0 });
  await runner.commitTransaction();
  expect(await counts()).toEqual({ stored: 1, announced: 1 });
});

it('leaves calls outside of any transaction alone', async () => {
  const { tasks } = context();
  const counts = await watch();
  await Promise.all([
    tasks.enqueue(Work, 'alone'),
    runInTransaction(() => tasks.enqueue(Work, 'inside')),
    expect(
      runInTransaction(async () => {
        await tasks.enqueue(Work, 'never');
        throw new Error('changed my mind');
      }),
    ).rejects.toThrow('changed my mind'),
  ]);
  expect(await counts()).toEqual({ stored: 2, announced: 2 });
});

it('joins none when the module has a connection of its own', async () => {
  const { tasks, schema } = await bootApp([Work], { workers: false });
  const transaction = runInTransaction(async () => {
    await tasks.enqueue(Work, 'stays');
    throw new Error('changed my mind');
  });
  await expect(transaction).rejects.toThrow('changed my mind');
  expect(await liveTasks(schema)).toBe(1);
});
