import type { LoggerService } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { Backoff, BackieModule, TaskEvents, TaskQueue } from 'nestjs-backie';
import { expect, it } from 'vitest';
import { freshSchema, moduleOf, next, whenFinished } from '../../support/app.js';
import { startProxy } from '../../fixtures/proxy.js';
import { freshRole } from '../../support/role.js';
import { taskOf } from '../../support/tasks.js';

/** Nest's logger as an application may replace it: it keeps every line. */
class CollectingLogger implements LoggerService {
  readonly lines: { level: string; context: string; text: string }[] = [];

  log = (message: unknown, ...rest: unknown[]) => this.keep('log', message, rest);
  warn = (message: unknown, ...rest: unknown[]) => this.keep('warn', message, rest);
  error = (message: unknown, ...rest: unknown[]) => this.keep('error', message, rest);
  debug = (message: unknown, ...rest: unknown[]) => this.keep('debug', message, rest);
  verbose = (message: unknown, ...rest: unknown[]) => this.keep('verbose', message, rest);
  fatal = (message: unknown, ...rest: unknown[]) => this.keep('fatal', message, rest);

  /** Those of this package. */
  get ours(): string[] {
    return this.lines
      .filter(({ context }) => /backie|WorkerPool/i.test(context))
      .map(({ level, text }) => `${level}: ${text}`);
  }

  private keep(level: string, message: unknown, rest: unknown[]): void {
    const text = [message, ...rest.slice(0, -1)].map(String).join(' ');
    this.lines.push({ level, context: String(rest.at(-1)), text });
  }
}

it('writes one line at start, one for each failed attempt, one at stop, and in none a payload or a password', async () => {
  const { url, password } = await freshRole();
  const schema = freshSchema();
  const payload = 'a secret that only handlers may see';
  const Good = taskOf('good', () => {});
  const Bad = taskOf(
    'bad',
    () => {
      throw new Error('not today');
    },
    { queue: 'mail', maxRetries: 1, backoff: Backoff.none() },
  );
  const options = { connection: url, schema, queues: [{ name: 'mail', concurrency: 7 }] };
  const logger = new CollectingLogger();
  const app = await Test.createTestingModule({
    imports: [moduleOf([Good, Bad], [BackieModule.forRoot(options)])],
  })
    .setLogger(logger)
    .compile();
  app.useLogger(logger);
  whenFinished(() => app.close());
  await app.init();
  const [start, ...more] = logger.ours;
  expect(more).toEqual([]);
  expect(start).toMatch(/^log: /);
  for (const part of ['default (10)', 'mail (7)', 'good', 'bad', new URL(url).host, schema])
    expect(start).toContain(part);

  const tasks = app.get(TaskQueue);
  const events = app.get(TaskEvents);
  const ended = Promise.all([next(events, 'done'), next(events, 'failed')]);
  await tasks.enqueue(Good, payload);
  const { id } = await tasks.enqueue(Bad, { payload });
  await ended;
  const attempts = logger.ours.slice(1);
  expect(attempts).toHaveLength(2);
  expect(attempts[0]).toMatch(/^warn: /);
  expect(attempts[1]).toMatch(/^error: /);
  for (const [index, line] of attempts.entries()) {
    for (const part of ['"bad"', id, `attempt ${index + 1}`, 'not today']) expect(line).toContain(part);
  }

  await app.close();
  const stop = logger.ours.slice(3);
  expect(stop).toHaveLength(1);
  expect(stop[0]).toMatch(/^log: Stopped/);
  const everything = logger.lines.map(({ text }) => text).join('\n');
  expect(everything).not.toContain(payload);
  expect(everything).not.toContain(password);
});

it('keeps the line of a failed attempt one line of bearable length, whatever was thrown', async () => {
  const Bad = taskOf(
    'bad',
    () => {
      throw new Error(`first\nsecond\r\n\u001b[31mthird ${'x'.repeat(100_000)}`);
    },
    { maxRetries: 0 },
  );
  const logger = new CollectingLogger();
  const { url } = await freshRole();
  const app = await Test.createTestingModule({
    imports: [moduleOf([Bad], [BackieModule.forRoot({ connection: url, schema: freshSchema() })])],
  })
    .setLogger(logger)
    .compile();
  app.useLogger(logger);
  whenFinished(() => app.close());
  await app.init();
  const failed = next(app.get(TaskEvents), 'failed');
  await app.get(TaskQueue).enqueue(Bad);
  await failed;
  const line = logger.ours.find((text) => text.startsWith('error: '))!;
  expect(line.slice(0, 200)).toContain('first second');
  expect(/\p{Cc}/u.test(line)).toBe(false);
  expect(line.length).toBeLessThan(2_500);
});

it('says so once, and not at every try, while the database is away', async () => {
  const proxy = await startProxy();
  const logger = new CollectingLogger();
  const options = { connection: proxy.url, schema: freshSchema(), defaults: { pollIntervalMs: 10 } };
  const app = await Test.createTestingModule({
    imports: [moduleOf([taskOf('work', () => {})], [BackieModule.forRoot(options)])],
  })
    .setLogger(logger)
    .compile();
  app.useLogger(logger);
  whenFinished(() => app.close());
  await app.init();
  proxy.mode = 'refuse';
  const { connections } = proxy;
  proxy.cut();
  await proxy.reached(connections + 5);
  const troubles = logger.ours.filter((line) => line.startsWith('error: Could not'));
  expect(troubles).toHaveLength(1);
  proxy.mode = 'forward';
});
