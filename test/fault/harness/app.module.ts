import { setTimeout as delay } from 'node:timers/promises';
import { type DynamicModule, Injectable, Module, type OnModuleInit } from '@nestjs/common';
import { BackgroundTask, type BackgroundTaskHandler, BackieModule, type CurrentTask, TaskQueue } from 'nestjs-backie';
import type { AppSettings, Work } from './app.protocol.js';
import { LedgerWriter } from './ledger.js';

/** What the applications under test do, as a rule. */
@BackgroundTask('work', { maxRetries: 100, backoff: () => 50 })
export class WorkTask implements BackgroundTaskHandler<Work> {
  constructor(private readonly ledger: LedgerWriter) {}

  async run(work: Work, task: CurrentTask): Promise<void> {
    await this.ledger.record(task, () => perform(work, task));
  }
}

/** The same in a transaction of the faulty database, with an effect and a follow-up. */
@BackgroundTask('transfer', { transactional: true, maxRetries: 100, backoff: () => 50 })
export class TransferTask implements BackgroundTaskHandler<Work> {
  constructor(
    private readonly ledger: LedgerWriter,
    private readonly tasks: TaskQueue,
  ) {}

  async run(work: Work, task: CurrentTask): Promise<void> {
    const { id, fencingToken, manager } = task;
    await this.ledger.record(task, async () => {
      const followUp = await this.tasks.enqueue(WorkTask, { do: 'wait', ms: 1 }, { manager });
      await perform(work, task);
      await manager.query('INSERT INTO public.effect VALUES ($1, $2, $3)', [id, fencingToken, followUp.id]);
    });
  }
}

async function perform(work: Work, task: CurrentTask): Promise<void> {
  switch (work.do) {
    case 'wait':
      await delay(work.ms, undefined, { signal: task.signal });
      return;
    case 'ignoreSignal':
      await delay(work.ms);
      return;
    case 'block':
      for (const until = performance.now() + work.ms; performance.now() < until;);
      return;
    case 'exit':
      await delay(work.ms);
      if (task.attempt === 1) process.exit(3);
      return;
    case 'kill':
    case 'alwaysKill':
      await delay(work.ms);
      if (task.attempt === 1 || work.do === 'alwaysKill') process.kill(process.pid, 'SIGKILL');
  }
}

@Injectable()
class SlowBoot implements OnModuleInit {
  constructor(private readonly settings: { readonly bootMs: number }) {}

  async onModuleInit(): Promise<void> {
    await delay(this.settings.bootMs);
  }
}

@Module({})
export class AppModule {
  static of(settings: AppSettings): DynamicModule {
    const { databaseUrl, workers, concurrency, leaseMs, shutdownGraceMs, pollIntervalMs, maxCrashes } = settings;
    return {
      module: AppModule,
      imports: [
        BackieModule.forRoot({
          // So that the server's view shows which process a session belongs to.
          connection: { url: databaseUrl, applicationName: settings.name },
          workers,
          leaseMs,
          shutdownGraceMs,
          maxCrashes,
          connectTimeoutMs: settings.connectTimeoutMs,
          defaults: { concurrency, pollIntervalMs, retention: 'keepAll' },
        }),
      ],
      providers: [
        WorkTask,
        TransferTask,
        { provide: LedgerWriter, useFactory: () => new LedgerWriter(settings.ledgerUrl, settings.name) },
        { provide: SlowBoot, useFactory: () => new SlowBoot(settings) },
      ],
    };
  }
}
