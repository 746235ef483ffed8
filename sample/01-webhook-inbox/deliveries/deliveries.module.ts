import { Module } from '@nestjs/common';
import { DeliveriesController } from './deliveries.controller.js';
import { DeliveriesService } from './deliveries.service.js';
import { SignatureGuard } from './signature.guard.js';
import { webhookSecretProvider } from './webhook-secret.js';

@Module({
  controllers: [DeliveriesController],
  providers: [DeliveriesService, SignatureGuard, webhookSecretProvider],
  exports: [webhookSecretProvider],
})
export class DeliveriesModule {}
