import { Injectable } from '@nestjs/common';
import { TaskQueue } from 'nestjs-backie';
import { SalesLedger } from '../sales/sales-ledger.js';
import { SalesReport } from './sales-report.js';

/** One schedule a tenant, in its time zone. They live in the database: every process may call this at its start. */
@Injectable()
export class ReportSchedules {
  constructor(
    private readonly ledger: SalesLedger,
    private readonly tasks: TaskQueue,
  ) {}

  /** @param cron When each tenant wants its report; `0 8 * * 1-5` would be eight in the morning of its working days. */
  async begin(cron: string): Promise<void> {
    for (const { name, timeZone } of await this.ledger.tenants()) {
      await this.tasks.schedule(`sales of ${name}`, SalesReport, { cron, timeZone, payload: { tenant: name } });
    }
  }

  async end(): Promise<void> {
    for (const { name } of await this.ledger.tenants()) await this.tasks.unschedule(`sales of ${name}`);
  }
}
