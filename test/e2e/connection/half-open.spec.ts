import type { StoreHint } from 'nestjs-backie';
import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { v7 as uuid } from 'uuid';
import { afterEach, expect, it, vi } from 'vitest';
import { type Proxy, type ProxyMode, startProxy } from '../../fixtures/proxy.js';
import { freshSchema, sql, whenFinished } from '../../support/app.js';
import { deferred } from '../../support/tasks.js';

/** As long as a probe of the listening connection is put off, and as long as it may take; a connection attempt too. */
const probeMs = 5_000;
/** Longer than the first pause before it connects anew. */
const pauseMs = 400;

afterEach(() => {
  vi.useRealTimers();
});

/** A store that listens through a proxy, with the timers of the listening connection in the test's hand. */
async function listeningThrough(proxy: Proxy, mode: ProxyMode = 'forward') {
  const store = new TypeOrmTaskStore({ connection: proxy.url, schema: freshSchema() });
  whenFinished(() => store.close());
  await store.open();
  const before = proxy.connections;
  const hints: StoreHint[] = [];
  let heard = deferred<StoreHint>();
  const nextHint = () => (heard = deferred<StoreHint>()).promise;
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  proxy.mode = mode;
  const listening = store.listen((hint) => {
    hints.push(hint);
    heard.resolve(hint);
  });
  whenFinished(async () => {
    vi.useRealTimers();
    proxy.cut();
    await (await listening).stop();
  });
  return { listening, hints, nextHint, connections: () => proxy.connections - before, before };
}

it('finds out that its listening connection has died without a word, and listens anew', async () => {
  const proxy = await startProxy();
  const { listening, hints, nextHint, before } = await listeningThrough(proxy);
  const subscription = await listening;
  expect(subscription.live).toBe(true);
  proxy.freeze();
  await vi.advanceTimersByTimeAsync(probeMs);
  expect(subscription.live).toBe(true);
  await vi.advanceTimersByTimeAsync(probeMs);
  expect(subscription.live).toBe(false);
  const again = nextHint();
  await vi.advanceTimersByTimeAsync(pauseMs);
  await proxy.reached(before + 2);
  // What was missed meanwhile is looked for.
  expect(await again).toEqual({ kind: 'wake' });
  expect(subscription.live).toBe(true);
  expect(hints).toHaveLength(2);
});

it('does not wait for ever for a server that accepts its listening connection and never says a word', async () => {
  const proxy = await startProxy();
  const { listening, nextHint, before } = await listeningThrough(proxy, 'silent');
  await proxy.reached(before + 1);
  await vi.advanceTimersByTimeAsync(probeMs);
  const subscription = await listening;
  expect(subscription.live).toBe(false);
  const again = nextHint();
  proxy.mode = 'forward';
  await vi.advanceTimersByTimeAsync(pauseMs);
  await proxy.reached(before + 2);
  expect(await again).toEqual({ kind: 'wake' });
  expect(subscription.live).toBe(true);
});

it('renews a lease in its thread no longer than it was told to, as when the main loop never comes back', async () => {
  const schema = freshSchema();
  const store = new TypeOrmTaskStore({ connection: (await startProxy()).url, schema });
  whenFinished(() => store.close());
  await store.open();
  const worker = { id: uuid(), host: 'host', pid: 1, version: '0.0.0', queues: ['default'] };
  const leaseMs = 1_000;
  const lost = deferred();
  const registered = performance.now();
  const lease = await store.lease(
    worker,
    { leaseMs, heartbeatMs: 50 },
    { lost: () => lost.resolve(), renewalFailed() {} },
  );
  // Something runs, and then no word of the main thread comes any more: it lasts for one lease after that.
  lease.sustain(leaseMs * 1.5);
  await lost.promise;
  expect(performance.now() - registered).toBeGreaterThan(leaseMs * 1.5);
  const [row] = await sql<{ renewed: boolean }>(
    `SELECT lease_until < now() + interval '100 ms' AS renewed FROM "${schema}".worker`,
  );
  expect(row).toEqual({ renewed: true });
}, 10_000);
