import { BackgroundTask, type BackgroundTaskHandler, type CurrentTask } from 'nestjs-backie';
import { DataSource } from 'typeorm';
import { MailGateway } from '../mail-gateway/mail.gateway.js';
import { Report } from './report.entity.js';

/** The gateway takes four mails in two seconds from all of us together, however many processes we are. */
@BackgroundTask('deliver-report', { queue: 'delivery', rateLimit: { max: 4, perMs: 2_000 } })
export class DeliverReport implements BackgroundTaskHandler<{ reportId: string }> {
  constructor(
    private readonly dataSource: DataSource,
    private readonly gateway: MailGateway,
  ) {}

  async run({ reportId }: { reportId: string }, task: CurrentTask): Promise<void> {
    const report = await this.dataSource.manager.findOneByOrFail(Report, { id: reportId });
    const response = await fetch(this.gateway.url, {
      method: 'POST',
      // The gateway drops a mail that it has seen.
      headers: { 'content-type': 'text/csv', 'idempotency-key': task.id },
      body: report.csv,
      signal: task.signal,
    });
    if (!response.ok) throw new Error(`The mail gateway answered ${response.status}.`);
    await this.dataSource.manager.update(Report, { id: reportId }, { deliveredAt: new Date() });
  }
}
