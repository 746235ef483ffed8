import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { Delivery } from '../deliveries/delivery.entity.js';
import { Insight } from '../read-model/rows/insight.entity.js';

interface EventRow {
  readonly event: string;
  readonly deliveries: number;
  readonly processed: number;
  readonly insights: number;
  readonly retries: number;
  readonly ms: number | null;
}

/** What became of the deliveries, by event. */
@Injectable()
export class EventTable {
  constructor(private readonly dataSource: DataSource) {}

  async print(): Promise<void> {
    const rows = await this.dataSource
      .createQueryBuilder(Delivery, 'delivery')
      .leftJoin(Insight, 'insight', 'insight.deliveryId = delivery.id')
      .select('delivery.event', 'event')
      .addSelect('count(*)::int', 'deliveries')
      .addSelect('count(delivery.processedAt)::int', 'processed')
      .addSelect('count(insight.deliveryId)::int', 'insights')
      .addSelect('coalesce(sum(insight.attempt - 1), 0)::int', 'retries')
      .addSelect('round(avg(extract(epoch FROM delivery.processedAt - delivery.receivedAt) * 1000))::int', 'ms')
      .groupBy('delivery.event')
      .orderBy('delivery.event')
      .getRawMany<EventRow>();

    console.log(line(['event', 'deliveries', 'processed', 'insights', 'retries', 'ms on average']));
    for (const { event, deliveries, processed, insights, retries, ms } of rows) {
      console.log(line([event, deliveries, processed, insights || '', retries || '', ms ?? '']));
    }
  }
}

function line([event, ...cells]: readonly (string | number)[]): string {
  return String(event).padEnd(32) + cells.map((cell) => String(cell).padStart(14)).join('');
}
