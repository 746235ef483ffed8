/**
 * One process that holds one adapter, commanded over IPC: so that no queue's heap, timers or compiled code meet
 * another's, and so that what is timed runs here without a word to the runner.
 *
 * Times that leave the process are milliseconds of the system's monotonic clock, which all processes share.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { deflateSync } from 'node:zlib';
import { loadAdapter } from '../adapters/index.mjs';
import { Ledger, now } from './ledger.mjs';

const [name, url] = process.argv.slice(2);
/** @type {import('../adapters/index.mjs').Adapter} */
let adapter;
/** @type {Ledger} */
let ledger;

const commands = {
  async load() {
    adapter = await loadAdapter(name, { url });
  },

  setup: () => adapter.setup(),

  /** @param {{ total: number, work?: boolean, concurrency?: number, handlerMs?: number }} options */
  open({ total, work = false, concurrency, handlerMs = 0 }) {
    ledger = new Ledger(total);
    const handler = async (/** @type {{ i: number }} */ { i }) => {
      ledger.began(i);
      if (handlerMs) await delay(handlerMs);
      ledger.ended(i);
    };
    return adapter.open({ handler, work, concurrency });
  },

  async start() {
    await adapter.start();
    ledger.startedAt = now();
  },

  stop: () => adapter.stop(),
  unfinished: () => adapter.unfinished(),

  /** Enqueues one by one, always `inFlight` at a time, for `ms` milliseconds after a warm-up. */
  async enqueueFor({ inFlight, ms, warmUpMs, most }) {
    let next = 0;
    let counted = 0;
    const from = now() + warmUpMs;
    const until = from + ms;
    await Promise.all(
      Array.from({ length: inFlight }, async () => {
        while (now() < until && next < most) {
          await adapter.enqueueOne({ i: next++ });
          const at = now();
          if (at >= from && at < until) counted++;
        }
      }),
    );
    return { enqueued: next, perSecond: (counted / ms) * 1000 };
  },

  /** Enqueues `count` in batches, one after the other. */
  async enqueueAll({ from = 0, count, batch = 1000, delayMs = 0 }) {
    const begun = now();
    for (let at = 0; at < count; at += batch) await enqueueBatch(from + at, Math.min(batch, count - at), delayMs);
    return { ms: now() - begun };
  },

  /** Lets `count` tasks flow through this process, at most `outstanding` enqueued and not yet handled. */
  async pass({ from, count, batch = 1000, outstanding = 5000 }) {
    const begun = now();
    const before = ledger.done;
    for (let at = 0; at < count; at += batch) {
      await ledger.reached(before + at + batch - outstanding);
      await enqueueBatch(from + at, Math.min(batch, count - at), 0);
    }
    await ledger.reached(before + count);
    return { ms: now() - begun };
  },

  /** Enqueues one task each `gapMs`; answers when each call was made. */
  async trickle({ from, count, gapMs }) {
    const calls = [];
    for (let at = 0; at < count; at++) {
      const next = delay(gapMs);
      calls.push(now());
      await adapter.enqueueOne({ i: from + at });
      await next;
    }
    return calls;
  },

  /** When the tasks began, in their order. */
  began: ({ from, count }) => Array.from(ledger.beganAt.subarray(from, from + count)),

  progress: () => ({ done: ledger.done, from: ledger.from, lastEnded: ledger.lastEnded }),
  /** When tasks ended, in the order of that. */
  endings: () => Buffer.from(ledger.endings.buffer, 0, ledger.done * 8).toString('base64'),
  /** How the handlers filled a window of time. */
  busy: ({ from, to }) => ledger.busy(from, to),
  /** How often each task ran here. */
  runs: () => deflateSync(ledger.runs).toString('base64'),

  usage() {
    const { user, system } = process.cpuUsage();
    return { cpuMs: (user + system) / 1000 };
  },

  async memory() {
    for (let i = 0; i < 3; i++) {
      globalThis.gc?.();
      await delay(300);
    }
    const { rss, heapUsed } = process.memoryUsage();
    return { rss, heapUsed };
  },

  /** A bare Nest application, as the floor for what a queue adds. */
  async bareNest() {
    const begun = now();
    await import('reflect-metadata');
    const { Module } = await import('@nestjs/common');
    const { NestFactory } = await import('@nestjs/core');
    class AppModule {}
    Module({})(AppModule);
    const loaded = now();
    await NestFactory.createApplicationContext(AppModule, { logger: false });
    return { begun, loaded, ready: now() };
  },

  /** Loads, opens and starts, and waits for a first task. */
  async firstTask({ total }) {
    const begun = now();
    await commands.load();
    const loaded = now();
    await commands.open({ total, work: true });
    await commands.start();
    const started = now();
    await ledger.reached(1);
    return { begun, loaded, started, first: ledger.firstBegan };
  },
};

function enqueueBatch(from, count, delayMs) {
  return adapter.enqueueMany(
    Array.from({ length: count }, (_, at) => ({ i: from + at })),
    { delayMs },
  );
}

process.on('message', (message) => void answer(message));
process.on('disconnect', () => process.exit());

async function answer({ id, command, options }) {
  let message;
  try {
    message = { id, result: await commands[command](options ?? {}) };
  } catch (error) {
    message = { id, error: error instanceof Error ? error.stack : String(error) };
  }
  if (process.connected) process.send(message);
}
