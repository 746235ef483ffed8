import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';
import { DemoService } from './demo/demo.service.js';

/** The process succeeds when all was as it should be, however it ends. */
let complete = false;
process.on('exit', () => {
  if (!complete) process.exitCode ||= 1;
});

/** A signal ends the demonstration; Nest's own hooks drain the workers and close everything. */
const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stopping.abort());

const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error', 'fatal'] });
app.enableShutdownHooks([], { useProcessExit: true });
try {
  complete = await app.get(DemoService).run(stopping.signal);
} catch (error) {
  if (!stopping.signal.aborted) console.error(error);
}
await app.close();
