import { Injectable, Module, type OnApplicationBootstrap, type OnModuleInit } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { BackieModule, TaskEvents, TaskQueue, WorkerPool } from 'nestjs-backie';
import { expect, inject, it } from 'vitest';
import { bootApp, freshSchema, next, sql, whenFinished } from '../../support/app.js';
import { backends } from '../../support/backends.js';
import { taskOf } from '../../support/tasks.js';

it('starts tasks only once every module is initialised, and can enqueue from the first onModuleInit on', async () => {
  const order: string[] = [];
  const Work = taskOf('work', () => order.push('task'));

  @Injectable()
  class Producer implements OnModuleInit, OnApplicationBootstrap {
    constructor(private readonly tasks: TaskQueue) {}

    async onModuleInit(): Promise<void> {
      await this.tasks.enqueue(Work);
      // Round trips enough for a worker that had started to claim and to run the task.
      for (let i = 0; i < 20; i++) await sql('SELECT 1');
      order.push('initialised');
    }

    onApplicationBootstrap(): void {
      order.push('bootstrap');
    }
  }
  @Module({
    imports: [BackieModule.forRoot({ connection: inject('databaseUrl'), schema: freshSchema() })],
    providers: [Producer, Work],
  })
  class AppModule {}

  const app = await Test.createTestingModule({ imports: [AppModule] }).compile();
  app.useLogger(false);
  whenFinished(() => app.close());
  const done = next(app.get(TaskEvents), 'done');
  expect(app.get(WorkerPool).status()).toMatchObject({ state: 'stopped', workerId: null });
  await app.init();
  await done;
  expect(order.indexOf('task')).toBeGreaterThan(order.indexOf('initialised'));
  expect(order).toContain('bootstrap');
  expect(app.get(WorkerPool).status().state).toBe('running');
});

it('registers a worker with its queues and a lease, which it renews', async () => {
  const Work = taskOf('work', () => {});
  const { schema, pool } = await bootApp([Work], { queues: [{ name: 'mail' }], leaseMs: 2_000, heartbeatMs: 20 });
  const { workerId, leaseRemainingMs } = pool.status();
  expect(leaseRemainingMs).toBeGreaterThan(0);
  expect(leaseRemainingMs).toBeLessThanOrEqual(2_000);
  const look = async () => {
    const rows = await sql<{ id: string; queues: string[]; pid: number; left: number; until: Date }>(
      // Not now(): a renewal may commit between that and the moment in which the row is seen.
      `SELECT id, queues, pid, lease_until AS until, extract(epoch FROM lease_until - clock_timestamp())::float8 AS left
       FROM "${schema}".worker`,
    );
    expect(rows).toMatchObject([{ id: workerId, pid: process.pid, queues: ['default', 'mail'] }]);
    return rows[0];
  };
  const first = await look();
  expect(first.left).toBeGreaterThan(0);
  expect(first.left).toBeLessThanOrEqual(2);
  let later = await look();
  while (later.until.getTime() <= first.until.getTime()) later = await look();
  expect(later.left).toBeLessThanOrEqual(2);
});

it('closes its connections when the start fails', async () => {
  const { connection, gone } = backends();
  const Stray = taskOf('stray', () => {}, { queue: 'nowhere' });
  await expect(bootApp([Stray], { connection })).rejects.toThrow('"nowhere"');
  await gone();
});
