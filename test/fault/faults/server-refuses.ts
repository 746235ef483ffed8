import { Client } from 'pg';
import type { Fault } from '../harness/fault.js';
import { type Harness, role } from '../harness/harness.js';

export const connectionsExhausted: Fault = {
  name: 'connections-exhausted',
  shows: 'somebody else takes every connection of the server',
  async run(harness) {
    await harness.begin({ overMs: 6_000 });
    const hog = new Hog(harness);
    try {
      await hog.takeAll();
      await harness.terminateBackends(`application_name <> '${Hog.name}'`);
      // What becomes free goes to whoever asks first, and the hog asks all the time.
      for (const until = performance.now() + 8_000; performance.now() < until; await harness.last(20))
        await hog.takeAll();
      harness.note(`${hog.size} connections taken; the applications have ${(await harness.connections()) - hog.size}`);
    } finally {
      await hog.leave();
    }
  },
};

class Hog {
  private readonly clients: Client[] = [];

  constructor(private readonly harness: Harness) {}

  get size(): number {
    return this.clients.length;
  }

  /** Opens connections until the server refuses one. */
  async takeAll(): Promise<void> {
    for (;;) {
      const { server, database } = this.harness;
      const client = new Client({ connectionString: server.url(database, role), application_name: Hog.name });
      client.on('error', () => {});
      try {
        await client.connect();
      } catch {
        return;
      }
      this.clients.push(client);
    }
  }

  async leave(): Promise<void> {
    await Promise.all(this.clients.splice(0).map((client) => client.end()));
  }
}

export const readOnly: Fault = {
  name: 'read-only',
  shows: 'default_transaction_read_only comes and goes for the whole server, as when its disk is full',
  async run(harness) {
    const set = async (value: 'on' | 'off') => {
      // The setting binds this session too.
      await harness.server.sql(`ALTER SYSTEM SET default_transaction_read_only = ${value}`);
      await harness.server.sql('SELECT pg_reload_conf()');
    };
    harness.finally(() => set('off'));
    await harness.begin({ overMs: 6_000 });
    await set('on');
    await harness.last(harness.leaseMs * 1.5);
    await set('off');
  },
};

export const readOnlySessions: Fault = {
  name: 'read-only-sessions',
  shows: 'sessions that were opened while the database was read-only stay so; they are replaced',
  async run(harness) {
    await harness.begin({ overMs: 6_000 });
    await harness.sql(`ALTER DATABASE ${harness.database} SET default_transaction_read_only = on`);
    await harness.terminateBackends();
    await harness.last(3_000);
    await harness.sql('SET default_transaction_read_only = off').catch(() => {});
    await harness.server.sql(`ALTER DATABASE ${harness.database} RESET default_transaction_read_only`);
  },
};

export const serializable: Fault = {
  name: 'serializable',
  shows: "the role's default isolation is serializable",
  async run(harness) {
    await harness.sql(`ALTER ROLE ${role} SET default_transaction_isolation = 'serializable'`);
    await harness.begin();
    await harness.loaded;
    harness.expected.duplicates = 0;
  },
};

export const statementTimeout: Fault = {
  name: 'statement-timeout',
  shows: 'the role has a statement_timeout of 50 ms',
  async run(harness) {
    await harness.sql(`ALTER ROLE ${role} SET statement_timeout = '50ms'`);
    await harness.begin();
    await harness.loaded;
    harness.expected.duplicates = 0;
  },
};
