import type { LoggerService, Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { Backoff, BackieModule, TaskEvents, TaskQueue, WorkerPool } from 'nestjs-backie';
import { expect, inject, it } from 'vitest';
import { type BackieOptions, freshSchema, moduleOf, next, sql, whenFinished } from '../../support/app.js';
import { startProxy } from '../../fixtures/proxy.js';
import { freshRole } from '../../support/role.js';
import { deferred, found, taskOf, until } from '../../support/tasks.js';

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

  /** The first line of this package that is like the pattern, once there is one. */
  line(pattern: RegExp): Promise<string> {
    const found = () => this.ours.find((text) => pattern.test(text));
    return new Promise((resolve) => {
      this.look = () => {
        const text = found();
        if (text) resolve(text);
      };
      this.look();
    });
  }

  private look: () => void = () => {};

  private keep(level: string, message: unknown, rest: unknown[]): void {
    const text = [message, ...rest.slice(0, -1)].map(String).join(' ');
    this.lines.push({ level, context: String(rest.at(-1)), text });
    this.look();
  }
}

/** An application whose log is read. */
async function logged(providers: Type[], options: BackieOptions) {
  const logger = new CollectingLogger();
  const app = await Test.createTestingModule({ imports: [moduleOf(providers, [BackieModule.forRoot(options)])] })
    .setLogger(logger)
    .compile();
  app.useLogger(logger);
  whenFinished(() => app.close());
  await app.init();
  return { logger, tasks: app.get(TaskQueue), events: app.get(TaskEvents), pool: app.get(WorkerPool) };
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

it.each([
  ['and goes on', true],
  ['and returns at once', false],
])(
  'warns of a handler that blocks the event loop %s, with its task and the lag, and runs it once',
  async (_, goesOn) => {
    let runs = 0;
    const gate = deferred();
    const Blocking = taskOf('blocking', async () => {
      runs++;
      const until = performance.now() + 3_000;
      while (performance.now() < until);
      if (goesOn) await gate.promise;
    });
    const options = { connection: inject('databaseUrl'), schema: freshSchema(), leaseMs: 2_000, heartbeatMs: 200 };
    const { logger, tasks, events } = await logged([Blocking], options);
    const done = next(events, 'done');
    const { id } = await tasks.enqueue(Blocking);
    const warning = await logger.line(/event loop/);
    gate.resolve();
    expect(await done).toMatchObject([{ id, attempt: 1 }]);
    expect(runs).toBe(1);
    expect(warning).toMatch(/^warn: /);
    expect(warning).toContain(`"blocking" ${id}`);
    expect(Number(/blocked for (\d+) ms/.exec(warning)?.[1])).toBeGreaterThan(1_000);
  },
);

it('warns once, and keeps its lease, when its connection options cannot be given to a thread', async () => {
  const url = new URL(inject('databaseUrl'));
  const connection = {
    host: url.hostname,
    port: Number(url.port || 5432),
    username: decodeURIComponent(url.username),
    password: () => decodeURIComponent(url.password),
    database: decodeURIComponent(url.pathname.slice(1)),
  };
  const schema = freshSchema();
  const gate = deferred();
  const Work = taskOf('work', () => gate.promise);
  const defaults = { retention: 'keepAll' as const };
  const options = { connection, schema, leaseMs: 2_000, heartbeatMs: 100, defaults };
  const { logger, tasks, events, pool } = await logged([Work], options);
  const started = next(events, 'started');
  const { id } = await tasks.enqueue(Work);
  await started;
  const { workerId } = pool.status();
  await until(
    () => sql<{ late: boolean }>(`SELECT now() > started_at + interval '3 s' AS late FROM "${schema}".task`),
    ([{ late }]) => late,
  );
  expect(await sql(`SELECT id, lease_until > now() AS lasts FROM "${schema}".worker`)).toEqual([
    { id: workerId, lasts: true },
  ]);
  const done = next(events, 'done');
  gate.resolve();
  expect(await done).toMatchObject([{ id, attempt: 1 }]);
  expect(await found(tasks, id)).toMatchObject({ claimSeq: 1, crashes: 0 });
  const [start, ...more] = logger.ours.toSorted();
  expect(start).toMatch(/^log: /);
  expect(more).toEqual([expect.stringMatching(/^warn: The lease is renewed on the main thread/)]);
});
