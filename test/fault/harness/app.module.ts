import { setTimeout as delay } from 'node:timers/promises';
import { type DynamicModule, Injectable, Module, type OnModuleInit } from '@nestjs/common';
import { BackgroundTask, type BackgroundTaskHandler, BackieModule, type CurrentTask } from 'nestjs-backie';
import type { AppSettings, Work } from './app.protocol.js';
import { LedgerWriter } from './ledger.js';

/** The only task of the applications under test. */
@BackgroundTask('work', { maxRetries: 100, backoff: () => 50 })
export class WorkTask implements BackgroundTaskHandler<Work> {
  constructor(private readonly ledger: LedgerWriter) {}

  async run(work: Work, task: CurrentTask): Promise<void> {
    await this.ledger.record(task, () => perform(work, task));
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
        { provide: LedgerWriter, useFactory: () => new LedgerWriter(settings.ledgerUrl, settings.name) },
        { provide: SlowBoot, useFactory: () => new SlowBoot(settings) },
      ],
    };
  }
}
