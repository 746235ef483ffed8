import { Injectable, NotFoundException } from '@nestjs/common';
import { TaskQueue } from 'nestjs-backie';
import { DataSource } from 'typeorm';
import { ProcessDelivery } from '../handlers/process-delivery.js';
import { Insight } from '../read-model/rows/insight.entity.js';
import { Delivery } from './delivery.entity.js';
import type { RawEvent } from './github-event.js';

export interface DeliveryStatus {
  readonly event: string;
  readonly receivedAt: Date;
  readonly processedAt: Date | null;
  readonly insight: Insight | null;
}

@Injectable()
export class DeliveriesService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly tasks: TaskQueue,
  ) {}

  /**
   * Stores a delivery and the task that processes it, both or neither: GitHub's answer is a promise that the delivery
   * will be processed, and GitHub may send it again when the answer gets lost.
   */
  receive({ deliveryId, name, payload }: RawEvent): Promise<{ duplicate: boolean }> {
    return this.dataSource.transaction(async (manager) => {
      const inserted = await manager
        .createQueryBuilder()
        .insert()
        .into(Delivery)
        .values({ id: deliveryId, event: name, payload })
        .orIgnore()
        .returning('id')
        .execute();
      // Postgres waits here for an equal delivery whose transaction is still open, and only then tells.
      const rows: unknown[] = inserted.raw;
      const duplicate = rows.length === 0;
      if (!duplicate) await this.tasks.enqueue(ProcessDelivery, { deliveryId }, { manager });
      return { duplicate };
    });
  }

  async status(id: string): Promise<DeliveryStatus> {
    const delivery = await this.dataSource.getRepository(Delivery).findOneBy({ id });
    if (!delivery) throw new NotFoundException(`There is no delivery ${id}.`);
    const { event, receivedAt, processedAt } = delivery;
    const insight = await this.dataSource.getRepository(Insight).findOneBy({ deliveryId: id });
    return { event, receivedAt, processedAt, insight };
  }
}
