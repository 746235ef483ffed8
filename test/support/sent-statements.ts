import { Client } from 'pg';
import { whenFinished } from './app.js';

/** A statement as it went to the driver. */
interface Sent {
  /** Of one whose plan is kept; otherwise its first word. */
  readonly name: string;
  readonly text: string;
  readonly values: readonly unknown[];
  readonly client: Client;
}

interface Statement {
  readonly name: string;
  readonly text: string;
  readonly values: readonly unknown[];
}

export interface SentStatements {
  readonly all: readonly Sent[];
  /** How many of each name since the last `reset`. */
  counts(): Record<string, number>;
  reset(): void;
  /** Resolves when so many of this name have been sent since the last `reset`. */
  sent(name: string, count: number): Promise<void>;
}

/**
 * Listens to what this process sends through the driver, the engine and TypeORM alike, except for the test's own
 * connections. The lease is renewed by a thread, which has a driver of its own.
 */
export function sentStatements(except: readonly Client[] = []): SentStatements {
  let all: Sent[] = [];
  let waiting: { name: string; count: number; resolve: () => void }[] = [];
  const counts = () => {
    const byName: Record<string, number> = {};
    for (const { name } of all) byName[name] = (byName[name] ?? 0) + 1;
    return byName;
  };
  const original = Client.prototype.query;
  Client.prototype.query = function (this: Client, ...args: unknown[]) {
    if (!except.includes(this)) {
      all.push(...statementsOf(args).map((one) => ({ ...one, client: this })));
      const now = waiting.length > 0 ? counts() : {};
      for (const { resolve } of waiting.filter(({ name, count }) => (now[name] ?? 0) >= count)) resolve();
      waiting = waiting.filter(({ name, count }) => (now[name] ?? 0) < count);
    }
    return Reflect.apply(original, this, args) as unknown;
  } as typeof original;
  whenFinished(async () => {
    Client.prototype.query = original;
  });
  return {
    get all() {
      return all;
    },
    counts,
    reset: () => {
      all = [];
    },
    sent: (name, count) => new Promise((resolve) => waiting.push({ name, count, resolve })),
  };
}

function statementsOf([config, values]: unknown[]): Omit<Sent, 'client'>[] {
  const steps = (config as { steps?: readonly { statement: Statement; values: readonly unknown[] }[] }).steps;
  if (steps) return steps.map(({ statement, values: own }) => sent(statement, own));
  const query = typeof config === 'string' ? { text: config } : (config as Partial<Statement>);
  return [sent(query, Array.isArray(values) ? (values as unknown[]) : (query.values ?? []))];
}

function sent({ name, text = '' }: Partial<Statement>, values: readonly unknown[]): Omit<Sent, 'client'> {
  return { name: name || (/\w+/.exec(text)?.[0] ?? ''), text, values };
}
