import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { MailGateway } from '../mail-gateway/mail.gateway.js';
import { Report } from '../reports/report.entity.js';
import { SalesLedger } from '../sales/sales-ledger.js';

/** Compares what the tasks left behind with what they had to leave behind. */
@Injectable()
export class ReportVerifier {
  constructor(
    private readonly dataSource: DataSource,
    private readonly ledger: SalesLedger,
    private readonly gateway: MailGateway,
  ) {}

  /** @param everyMs The distance of two ticks. */
  async problems(everyMs: number): Promise<string[]> {
    const problems: string[] = [];
    if (this.gateway.refused > 0) problems.push(`The mail gateway refused ${this.gateway.refused} mails.`);
    for (const tenant of await this.ledger.tenants()) {
      const reports = await this.dataSource.manager.find(Report, {
        where: { tenant: tenant.name },
        order: { tick: 'ASC' },
      });
      const months = await this.ledger.months(tenant);
      const csv = months.map(({ month, sales, cents }) => `${month},${sales},${cents}\n`).join('');
      for (const [index, report] of reports.entries()) {
        const name = `The report of ${tenant.name} for ${report.tick.toISOString()}`;
        if (report.csv !== csv) problems.push(`${name} is wrong.`);
        if (!report.deliveredAt) problems.push(`${name} was not delivered.`);
        const before = reports[index - 1];
        if (!before) continue;
        const distance = report.tick.getTime() - before.tick.getTime();
        if (distance !== everyMs) problems.push(`${name} comes ${distance} ms after the one before.`);
        if (report.startedAt < before.finishedAt) problems.push(`${name} began before the one before had ended.`);
      }
    }
    return problems;
  }
}
