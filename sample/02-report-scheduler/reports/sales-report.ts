import { BackgroundTask, type BackgroundTaskHandler, type CurrentTask, TaskQueue } from 'nestjs-backie';
import type { EntityManager } from 'typeorm';
import { SalesLedger } from '../sales/sales-ledger.js';
import { Tenant } from '../sales/tenant.entity.js';
import { DeliverReport } from './deliver-report.js';
import { Report } from './report.entity.js';

export interface SalesReportOrder {
  readonly tenant: string;
  /** Added by the schedule. */
  readonly tick?: string;
}

/**
 * The report of one tenant, one at a time for each. The report, its delivery and the end of this task commit together:
 * whatever dies when, there is one report a tick, and one delivery a report.
 */
@BackgroundTask('sales-report', {
  queue: 'reports',
  transactional: true,
  concurrencyKey: ({ tenant }: SalesReportOrder) => tenant,
  concurrencyLimit: 1,
})
export class SalesReport implements BackgroundTaskHandler<SalesReportOrder> {
  constructor(
    private readonly ledger: SalesLedger,
    private readonly tasks: TaskQueue,
  ) {}

  async run({ tenant: name, tick }: SalesReportOrder, task: CurrentTask): Promise<void> {
    const { manager } = task;
    const startedAt = await databaseTime(manager);
    const tenant = await manager.findOneByOrFail(Tenant, { name });
    const months = await this.ledger.months(tenant, manager);
    const csv = months.map(({ month, sales, cents }) => `${month},${sales},${cents}\n`).join('');
    await manager.insert(Report, {
      id: task.id,
      tenant: name,
      tick: new Date(tick ?? task.scheduledAt),
      startedAt,
      finishedAt: await databaseTime(manager),
      csv,
    });
    await this.tasks.enqueue(DeliverReport, { reportId: task.id }, { manager });
  }
}

/** The time of the moment: `now()` would be that of the transaction's begin. */
async function databaseTime(manager: EntityManager): Promise<Date> {
  const [row] = await manager.query<{ now: Date }[]>('SELECT clock_timestamp() AS "now"');
  if (!row) throw new Error('The database does not know the time.');
  return row.now;
}
