import { inspect } from 'node:util';
import { BackieError, ConnectionFailedError } from 'nestjs-backie';
import { expect, inject, it } from 'vitest';
import { bootApp, runTask, sql } from '../../support/app.js';
import { backends } from '../../support/backends.js';
import { freshRole } from '../../support/role.js';
import { forever, taskOf } from '../../support/tasks.js';
import { startProxy } from '../../fixtures/proxy.js';

const Work = taskOf('work', () => {});

/** What an application fails with when it starts; it took less than `withinMs`. */
async function failure(options: Parameters<typeof bootApp>[1], withinMs: number): Promise<Error> {
  const before = performance.now();
  const error = await bootApp([Work], options).then(
    () => Promise.reject(new Error('It started.')),
    (reason: unknown) => reason as Error,
  );
  expect(error).toBeInstanceOf(BackieError);
  expect(performance.now() - before).toBeLessThan(withinMs);
  return error;
}

it('fails at once when the password is wrong, names the database, and never the password', async () => {
  const { url } = await freshRole();
  const wrong = new URL(url);
  wrong.password = 'not-the-password';
  const error = await failure({ connection: wrong.href, connectTimeoutMs: 60_000 }, 10_000);
  expect(error).toBeInstanceOf(ConnectionFailedError);
  expect(error.message).toContain(`${wrong.host}${wrong.pathname}`);
  expect(inspect(error, { depth: 10, showHidden: true })).not.toContain('not-the-password');
});

it.each(['url', 'fields'])('fails at once when the database does not exist, given by %s', async (how) => {
  const url = new URL(inject('databaseUrl'));
  url.pathname = '/no_such_database';
  const { hostname, port, username, password } = url;
  const connection =
    how === 'url'
      ? url.href
      : {
          host: hostname,
          port: Number(port || 5432),
          username,
          password: decodeURIComponent(password),
          database: 'no_such_database',
        };
  const error = await failure({ connection, connectTimeoutMs: 60_000 }, 10_000);
  expect(error).toBeInstanceOf(ConnectionFailedError);
  expect(error.message).toContain('no_such_database');
  expect(error.message).toContain(hostname);
});

it.each(['postgres://me:hush-hush@:bad:port/db', 'postgres://me:hush%-hush@localhost:99999/db', 'hush-hush'])(
  'never shows the password of a URL that is no URL: %s',
  async (connection) => {
    const error = await failure({ connection, connectTimeoutMs: 100 }, 10_000);
    expect(inspect(error, { depth: 10, showHidden: true })).not.toMatch(/hush/);
  },
);

it('fails at once when it may not create its schema, and says so', async () => {
  const { url, name } = await freshRole();
  await sql(`REVOKE CREATE ON DATABASE "${new URL(url).pathname.slice(1)}" FROM ${name}`);
  const own = backends(url);
  await expect(bootApp([Work], { connection: own.connection })).rejects.toThrow(/permission denied/);
  await own.gone();
});

it('tries again for as long as connectTimeoutMs while no server answers, then names it', async () => {
  const proxy = await startProxy('refuse');
  const before = performance.now();
  const error = await failure({ connection: proxy.url, connectTimeoutMs: 1_000 }, 10_000);
  expect(performance.now() - before).toBeGreaterThan(300);
  expect(proxy.connections).toBeGreaterThan(2);
  expect(error).toBeInstanceOf(ConnectionFailedError);
  expect(error.message).toContain(`127.0.0.1:${proxy.port}`);
});

it('gives up after connectTimeoutMs though the server accepts connections and never says a word', async () => {
  const proxy = await startProxy('silent');
  const connection = { url: proxy.url, connectTimeoutMS: 300 };
  const error = await failure({ connection, connectTimeoutMs: 1_000 }, 5_000);
  expect(error).toBeInstanceOf(ConnectionFailedError);
  expect(proxy.connections).toBeGreaterThan(1);
});

it.each(['refuse', 'startingUp'] as const)('waits for a server that comes up later: %s', async (mode) => {
  const proxy = await startProxy(mode);
  const booting = bootApp([Work], { connection: proxy.url });
  await proxy.reached(2);
  proxy.mode = 'forward';
  await runTask(await booting, Work);
});

it('keeps one task from ending another, or the process, when connections break in the middle of statements', async () => {
  const proxy = await startProxy();
  const Hanging = taskOf('hanging', forever);
  const booted = await bootApp([Work, Hanging], {
    connection: proxy.url,
    shutdownGraceMs: 0,
    queues: [{ name: 'default', pollIntervalMs: 10 }],
  });
  for (let round = 0; round < 5; round++) {
    const enqueued = booted.tasks.enqueueMany(Work, Array.from({ length: 20 }));
    proxy.cut();
    await enqueued;
  }
  await runTask(booted, Work);
});
