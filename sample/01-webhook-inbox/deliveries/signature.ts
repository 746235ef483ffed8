import { createHmac, timingSafeEqual } from 'node:crypto';

/** The value of GitHub's `X-Hub-Signature-256`: an HMAC over the body's bytes as they were sent. */
export function sign(body: string | Buffer, secret: string): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`;
}

/** Takes the same time wherever a wrong signature starts to differ. */
export function isSignedBy(secret: string, body: Buffer, signature: string): boolean {
  const expected = Buffer.from(sign(body, secret));
  const given = Buffer.from(signature);
  return given.length === expected.length && timingSafeEqual(given, expected);
}
