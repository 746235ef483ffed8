export const WEBHOOK_SECRET = Symbol('WEBHOOK_SECRET');

export const webhookSecretProvider = {
  provide: WEBHOOK_SECRET,
  useFactory: (): string => process.env['WEBHOOK_SECRET'] ?? 'a secret for development only',
};
