import { Client } from 'pg';
import type { Harness } from '../fault/harness/harness.js';

/** Something that goes wrong for a while; it is over when the promise resolves. */
export interface Trouble {
  readonly name: string;
  cause(harness: Harness): Promise<void>;
}

/** The worker that is never killed: its memory is watched. */
export function elder(harness: Harness) {
  return harness.workers[0];
}

async function anyButElder(harness: Harness) {
  const others = harness.workers.slice(1);
  return others[Math.floor(Math.random() * others.length)];
}

export const troubles: readonly Trouble[] = [
  {
    name: 'nothing',
    cause: (harness) => harness.last(2_000),
  },
  {
    name: 'kill -9',
    async cause(harness) {
      await (await anyButElder(harness))?.kill();
      await harness.spawn().ready;
    },
  },
  {
    name: 'SIGTERM',
    async cause(harness) {
      const app = await anyButElder(harness);
      app?.signal('SIGTERM');
      await app?.exited;
      await harness.spawn().ready;
    },
  },
  {
    name: 'SIGSTOP past the lease',
    async cause(harness) {
      const [stopped] = harness.workers;
      process.kill(stopped.pid, 'SIGSTOP');
      try {
        await harness.last(harness.leaseMs * 1.5);
      } finally {
        process.kill(stopped.pid, 'SIGCONT');
      }
    },
  },
  {
    name: 'all sessions terminated',
    async cause(harness) {
      await harness.terminateBackends();
    },
  },
  {
    name: 'connections reset',
    async cause(harness) {
      harness.proxy.cut(() => Math.random() < 0.5);
    },
  },
  {
    name: 'the network stalls',
    async cause(harness) {
      harness.proxy.set({ up: 'stall', down: 'stall' });
      await harness.last(harness.leaseMs * (0.5 + Math.random()));
      harness.proxy.heal();
    },
  },
  {
    name: 'answers vanish',
    async cause(harness) {
      harness.proxy.set({ down: 'drop' });
      await harness.last(harness.leaseMs / 2);
      harness.proxy.heal();
    },
  },
  {
    name: 'the server crashes',
    cause: (harness) => harness.server.restart('immediate'),
  },
  {
    name: 'the table is locked',
    async cause(harness) {
      const client = new Client({ connectionString: harness.server.url(harness.database) });
      client.on('error', () => {});
      await client.connect();
      try {
        await client.query('BEGIN; LOCK TABLE backie.task IN ACCESS EXCLUSIVE MODE');
        await harness.last(harness.leaseMs);
      } finally {
        await client.end();
      }
    },
  },
];
