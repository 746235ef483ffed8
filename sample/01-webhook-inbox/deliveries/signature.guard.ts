import type { IncomingMessage } from 'node:http';
import {
  type CanActivate,
  type ExecutionContext,
  Inject,
  Injectable,
  type RawBodyRequest,
  UnauthorizedException,
} from '@nestjs/common';
import { isSignedBy } from './signature.js';
import { WEBHOOK_SECRET } from './webhook-secret.js';

/** Lets only requests pass whose `X-Hub-Signature-256` fits the raw body. */
@Injectable()
export class SignatureGuard implements CanActivate {
  constructor(@Inject(WEBHOOK_SECRET) private readonly secret: string) {}

  canActivate(context: ExecutionContext): boolean {
    const { rawBody, headers } = context.switchToHttp().getRequest<RawBodyRequest<IncomingMessage>>();
    const signature = headers['x-hub-signature-256'];
    if (rawBody && typeof signature === 'string' && isSignedBy(this.secret, rawBody, signature)) return true;
    throw new UnauthorizedException('X-Hub-Signature-256 does not fit the body.');
  }
}
