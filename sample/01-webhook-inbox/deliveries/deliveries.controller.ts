import type { ServerResponse } from 'node:http';
import {
  BadRequestException,
  Body,
  Controller,
  Get,
  Headers,
  HttpStatus,
  Param,
  ParseUUIDPipe,
  Post,
  Res,
  UseGuards,
} from '@nestjs/common';
import { DeliveriesService, type DeliveryStatus } from './deliveries.service.js';
import { SignatureGuard } from './signature.guard.js';

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const eventName = /^[a-z0-9_]{1,64}$/;

@Controller()
export class DeliveriesController {
  constructor(private readonly deliveries: DeliveriesService) {}

  /** 202 for a delivery that is new, 200 for one that is known already. */
  @Post('webhooks/github')
  @UseGuards(SignatureGuard)
  async receive(
    @Headers('x-github-delivery') delivery: string | undefined,
    @Headers('x-github-event') event: string | undefined,
    @Body() payload: Record<string, unknown>,
    @Res({ passthrough: true }) response: ServerResponse,
  ): Promise<{ duplicate: boolean }> {
    const deliveryId = delivery?.toLowerCase() ?? '';
    if (!uuid.test(deliveryId)) throw new BadRequestException('X-GitHub-Delivery must be a UUID.');
    if (!event || !eventName.test(event)) throw new BadRequestException('X-GitHub-Event must name an event.');
    const received = await this.deliveries.receive({ deliveryId, name: event, payload });
    response.statusCode = received.duplicate ? HttpStatus.OK : HttpStatus.ACCEPTED;
    return received;
  }

  @Get('deliveries/:id')
  status(@Param('id', ParseUUIDPipe) id: string): Promise<DeliveryStatus> {
    return this.deliveries.status(id);
  }
}
