import { Module } from '@nestjs/common';
import { ReadModelModule } from '../read-model/read-model.module.js';
import { TextServiceModule } from '../text-service/text-service.module.js';
import { EnrichDelivery } from './enrich-delivery.js';
import { ProcessDelivery } from './process-delivery.js';

@Module({
  imports: [ReadModelModule, TextServiceModule],
  providers: [ProcessDelivery, EnrichDelivery],
})
export class HandlersModule {}
