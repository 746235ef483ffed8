import { BackgroundTask, type BackgroundTaskHandler, TaskQueue } from 'nestjs-backie';
import { DataSource, type EntityManager } from 'typeorm';
import { Delivery } from '../deliveries/delivery.entity.js';
import { asGithubEvent, type GithubEvent, type RawEvent } from '../deliveries/github-event.js';
import { ReadModelService } from '../read-model/read-model.service.js';
import { EnrichDelivery } from './enrich-delivery.js';
import { proseOf } from './prose-of.js';

/**
 * A task runs at least once. Its effects happen once all the same: what it writes, the task that it enqueues and the
 * mark on the delivery commit together, and a second run finds the mark.
 */
@BackgroundTask('process-delivery', { queue: 'webhooks' })
export class ProcessDelivery implements BackgroundTaskHandler<{ deliveryId: string }> {
  constructor(
    private readonly dataSource: DataSource,
    private readonly readModel: ReadModelService,
    private readonly tasks: TaskQueue,
  ) {}

  async run({ deliveryId }: { deliveryId: string }): Promise<void> {
    await this.dataSource.transaction(async (manager) => {
      const event = await this.take(deliveryId, manager);
      if (!event) return;
      const text = proseOf(event);
      if (text) {
        await this.tasks.enqueue(EnrichDelivery, { deliveryId, text }, { manager, uniqueKey: deliveryId });
      }
      await this.readModel.project(event, manager);
    });
  }

  /** Marks the delivery as processed and returns it, or null if that has happened before. */
  private async take(deliveryId: string, manager: EntityManager): Promise<GithubEvent | null> {
    const taken = await manager
      .createQueryBuilder()
      .update(Delivery)
      .set({ processedAt: () => 'clock_timestamp()' })
      .where('id = :deliveryId AND "processedAt" IS NULL', { deliveryId })
      .returning(['event', 'payload'])
      .execute();
    const [row]: { event: string; payload: RawEvent['payload'] }[] = taken.raw;
    return row ? asGithubEvent({ deliveryId, name: row.event, payload: row.payload }) : null;
  }
}
