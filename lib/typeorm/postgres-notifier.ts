import pg from 'pg';
import { delay } from '../engine/delay.js';
import type { Listening, StoreHint } from '../engine/task-store.js';

const shortestPauseMs = 250;
const longestPauseMs = 15_000;
/** How often the connection is asked whether it still lives: a half-open one would be silent for ever. */
const probeEveryMs = 5_000;
const probeTimeoutMs = 5_000;
const goodbyeTimeoutMs = 500;

/**
 * Listens for hints on a connection of its own, and comes back by itself when that breaks. Whatever was missed
 * meanwhile is made good by a wake-up after each new LISTEN, and by polling anyway.
 */
export class PostgresNotifier implements Listening {
  private client: pg.Client | undefined;
  private timer: NodeJS.Timeout | undefined;
  private pauseMs = shortestPauseMs;
  private closed = false;
  private listening = false;

  constructor(
    private readonly options: pg.ClientConfig,
    private readonly listenSql: string,
    private readonly listener: (hint: StoreHint) => void,
  ) {}

  get live(): boolean {
    return this.listening;
  }

  /** Resolves when it listens, or when the first try failed and it goes on trying. */
  async start(): Promise<void> {
    const client = new pg.Client({
      ...this.options,
      query_timeout: probeTimeoutMs,
      connectionTimeoutMillis: probeTimeoutMs,
    });
    this.client = client;
    client.on('notification', ({ payload }) => this.receive(payload ?? ''));
    client.on('error', () => this.again(client));
    client.on('end', () => this.again(client));
    try {
      await client.connect();
      await client.query(this.listenSql);
      this.listening = true;
      this.pauseMs = shortestPauseMs;
      this.probeLater(client);
      this.listener({ kind: 'wake' });
    } catch {
      this.again(client);
    }
  }

  async stop(): Promise<void> {
    this.closed = true;
    this.listening = false;
    clearTimeout(this.timer);
    const client = this.client;
    this.client = undefined;
    // A connection that has fallen silent does not answer the goodbye either.
    await Promise.race([client?.end().catch(() => {}), delay(goodbyeTimeoutMs)]);
  }

  /** Hints are another process's words: what is malformed is ignored. */
  private receive(payload: string): void {
    const rest = payload.slice(1);
    const wake = /^w(\d{1,15}):(.+)$/s.exec(payload);
    if (wake) this.listener({ kind: 'wake', queue: wake[2], inMs: Number(wake[1]) });
    else if (payload.startsWith('o') && rest) this.listener({ kind: 'wake', queue: rest, inMs: 0, count: 1 });
    else if (payload.startsWith('c')) this.listener({ kind: 'cancel', id: rest });
    else if (payload === 'l') this.listener({ kind: 'control' });
    else if (payload.startsWith('e')) this.listener({ kind: 'ended', id: rest });
    else if (payload === 's') this.listener({ kind: 'schedule' });
    else if (payload.startsWith('b')) this.listener({ kind: 'buried', workerId: rest });
  }

  private probeLater(client: pg.Client): void {
    this.timer = setTimeout(() => {
      client.query('SELECT 1').then(
        () => {
          if (client === this.client && !this.closed) this.probeLater(client);
        },
        () => this.again(client),
      );
    }, probeEveryMs).unref();
  }

  private again(client: pg.Client): void {
    if (this.closed || client !== this.client) return;
    this.client = undefined;
    this.listening = false;
    clearTimeout(this.timer);
    client.end().catch(() => {});
    this.timer = setTimeout(() => void this.start(), this.pauseMs * (0.75 + Math.random() * 0.5)).unref();
    this.pauseMs = Math.min(this.pauseMs * 2, longestPauseMs);
  }
}
