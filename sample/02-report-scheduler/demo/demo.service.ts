import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { TaskEvents, TaskQueue } from 'nestjs-backie';
import { filter, firstValueFrom } from 'rxjs';
import { DataSource, IsNull, Not } from 'typeorm';
import { type Archive, FullArchive } from '../reports/full-archive.js';
import { Report } from '../reports/report.entity.js';
import { ReportSchedules } from '../reports/report-schedules.js';
import { SalesLedger } from '../sales/sales-ledger.js';
import { ReportVerifier } from './report.verifier.js';

const everyMs = 1_000;
const everySecond = '* * * * * *';
const reportsEach = 4;
const patienceMs = 60_000;

/** Asks for two archives, cancels one, lets the schedules tick for a while, and checks what came of all that. */
@Injectable()
export class DemoService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly tasks: TaskQueue,
    private readonly events: TaskEvents,
    private readonly ledger: SalesLedger,
    private readonly schedules: ReportSchedules,
    private readonly verifier: ReportVerifier,
  ) {}

  /** @returns whether everything is as it should be. */
  async run(signal: AbortSignal): Promise<boolean> {
    await this.startAfresh(signal);
    const problems = [...(await this.cancelsAnArchive()), ...(await this.keepsAnArchive())];
    await this.schedules.begin(everySecond);
    const tenants = (await this.ledger.tenants()).length;
    await this.until('reports are written', signal, async () => {
      return (await this.dataSource.manager.count(Report)) >= tenants * reportsEach;
    });
    await this.schedules.end();
    await this.untilIdle(signal);
    problems.push(...(await this.verifier.problems(everyMs)));
    console.log(`Reports: ${await this.delivered()} of ${tenants} tenants, written and delivered.`);
    if (problems.length > 0) console.error(`\n${problems.length} problems:\n${problems.slice(0, 20).join('\n')}`);
    else console.log('Each tick gave one report, one at a time for each tenant, and the gateway refused no mail.');
    return problems.length === 0;
  }

  /** A run that was broken off has left its schedules and tasks behind. */
  private async startAfresh(signal: AbortSignal): Promise<void> {
    await this.schedules.end();
    await this.tasks.cancelMany({});
    await this.untilIdle(signal);
    await this.tasks.removeMany({});
    await this.dataSource.manager.clear(Report);
  }

  private async untilIdle(signal: AbortSignal): Promise<void> {
    await this.until('no task is left', signal, async () => {
      const { ready, running } = await this.tasks.counts();
      return ready + running === 0;
    });
  }

  private async cancelsAnArchive(): Promise<string[]> {
    return this.inFolder(async (file) => {
      const started = firstValueFrom(this.events.started.pipe(filter(({ name }) => name === 'full-archive')));
      const { id } = await this.tasks.enqueue(FullArchive, { file });
      await started;
      await this.tasks.cancel(id);
      const reason = await this.tasks.result(id).then(
        () => 'it ended all the same',
        (error: Error) => error.message,
      );
      console.log(`Archive 1: ${reason}`);
      const { state } = (await this.tasks.find(id)) ?? {};
      return state === 'cancelled' ? [] : [`The cancelled archive is ${state ?? 'gone'}.`];
    });
  }

  private async keepsAnArchive(): Promise<string[]> {
    return this.inFolder(async (file) => {
      const { id } = await this.tasks.enqueue(FullArchive, { file });
      const archive = await this.tasks.result<Archive>(id, { timeoutMs: patienceMs });
      console.log(`Archive 2: ${archive.sales} sales in ${archive.bytes} bytes.`);
      const { sales, cents } = await this.ledger.total();
      const problems: string[] = [];
      if (archive.sales !== sales || archive.cents !== cents) problems.push('The archive does not hold all sales.');
      if (!existsSync(file)) problems.push('The archive is gone.');
      return problems;
    });
  }

  private async inFolder<Result>(work: (file: string) => Promise<Result>): Promise<Result> {
    const folder = await mkdtemp(join(tmpdir(), 'backie-archive-'));
    try {
      return await work(join(folder, 'sales.csv.gz'));
    } finally {
      await rm(folder, { recursive: true });
    }
  }

  private delivered(): Promise<number> {
    return this.dataSource.manager.count(Report, { where: { deliveredAt: Not(IsNull()) } });
  }

  private async until(what: string, signal: AbortSignal, holds: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + patienceMs;
    while (!(await holds())) {
      if (performance.now() > deadline) throw new Error(`Waited ${patienceMs} ms in vain: ${what}.`);
      await delay(100, undefined, { signal });
    }
  }
}
