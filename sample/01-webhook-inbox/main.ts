import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { AppModule } from './app.module.js';
import { WEBHOOK_SECRET } from './deliveries/webhook-secret.js';
import { curlLines } from './replay/curl-lines.js';
import { ReplayService } from './replay/replay.service.js';

const serve = process.argv.includes('--serve');
const slow = process.argv.includes('--slow');

/** The process succeeds when the read model was right, however it ends. */
let complete = false;
process.on('exit', () => {
  if (!complete) process.exitCode ||= 1;
});

/** A signal ends the replay; Nest's own hooks drain the workers and close everything. */
const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    console.log(`\n${signal}: draining.`);
    stopping.abort();
  });
}

const app = await NestFactory.create<NestExpressApplication>(AppModule, {
  rawBody: true,
  // The library warns of each retry; the progress line counts them.
  logger: ['error', 'fatal'],
});
app.useBodyParser('json', { limit: '25mb' });
app.enableShutdownHooks([], { useProcessExit: true });
await app.listen(serve ? (process.env['PORT'] ?? 3000) : 0, '127.0.0.1');
const url = await app.getUrl();

try {
  complete = await app.get(ReplayService).run({ url, pauseMs: slow ? 300 : 0, signal: stopping.signal });
  if (serve) console.log(`\nListening on ${url} until Ctrl-C. Try:\n${curlLines(url, app.get(WEBHOOK_SECRET))}`);
  else await app.close();
} catch (error) {
  if (!stopping.signal.aborted) console.error(error);
  await app.close();
}
