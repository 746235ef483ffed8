import 'reflect-metadata';
import { startEmbeddedPostgres } from 'nestjs-backie/embedded';
import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { v7 } from 'uuid';
const server = await startEmbeddedPostgres({});
const { WorkerPool } = await import('nestjs-backie');
const store = new TypeOrmTaskStore({ connection: server.url });
await store.open();
const N = 20000;
const mk = (i) => ({ id: v7(), name: 't', queue: 'q', payload: JSON.stringify({ i }), priority: 0, uniqueKey: null, maxRetries: null, timeoutMs: null, due: { inMs: 0 } });
for (let round = 0; round < 3; round++) {
let t = performance.now();
for (let i = 0; i < N; i += 1000) await store.enqueue(Array.from({ length: 1000 }, (_, k) => mk(i + k)));
console.log('enqueue/s', (N / (performance.now() - t)) * 1000 | 0);
let done = 0, resolve; const all = new Promise((r) => (resolve = r));
for (const conc of [Number(process.argv[2] ?? 10)]) {
  const pool = new WorkerPool(store, () => new Map([['t', { name: 't', queue: 'q', maxRetries: 3, backoff: { kind: 'none' }, timeoutMs: undefined, handler: async () => {} }]]), { queues: [{ name: 'q', concurrency: conc, pollIntervalMs: 1000, retention: process.argv[3] ?? 'removeDone', executionTimeoutMs: 120000 }], leaseMs: 30000, heartbeatMs: 10000, shutdownGraceMs: 1000, maxCrashes: 3, version: 'x', newId: v7 },
    { event(kind) { if (kind === 'done' && ++done === N) resolve(); }, log() {} });
  t = performance.now();
  await pool.start();
  await all;
  console.log('drain/s', conc, (N / (performance.now() - t)) * 1000 | 0);
  await pool.drain();
}
}
await store.close();
await server.stop();
