import { Backoff, BackgroundTask, type BackgroundTaskHandler, type CurrentTask } from 'nestjs-backie';
import { DataSource } from 'typeorm';
import { Insight } from '../read-model/rows/insight.entity.js';
import { TextClient } from '../text-service/text.client.js';

export interface EnrichDeliveryPayload {
  readonly deliveryId: string;
  readonly text: string;
}

/** Asks a service that fails now and then; a failure is no more than a retry after a short wait. */
@BackgroundTask('enrich-delivery', {
  queue: 'enrichment',
  maxRetries: 5,
  backoff: Backoff.exponential({ initialMs: 50, maxMs: 500 }),
  timeoutMs: 10_000,
})
export class EnrichDelivery implements BackgroundTaskHandler<EnrichDeliveryPayload> {
  constructor(
    private readonly dataSource: DataSource,
    private readonly textClient: TextClient,
  ) {}

  async run({ deliveryId, text }: EnrichDeliveryPayload, task: CurrentTask): Promise<void> {
    const { attempt, signal } = task;
    const analysis = await this.textClient.analyse(text, { key: deliveryId, attempt, signal });
    await this.dataSource.getRepository(Insight).upsert({ deliveryId, ...analysis, attempt }, ['deliveryId']);
  }
}
