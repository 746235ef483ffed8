import { describe, expect, it } from 'vitest';
import { freshDatabase, shared, whenFinished } from '../support/app.js';
import { blackholeHalf } from './faults/blackhole.js';
import { killNine } from './faults/kill-nine.js';
import { settleReplyLost } from './faults/reply-lost.js';
import { tenRestarts } from './faults/server-down.js';
import { sigtermClaiming } from './faults/sigterm.js';
import { sigstop } from './faults/sigstop.js';
import { Guardian } from './harness/guardian.js';
import { LedgerReader } from './harness/ledger.js';
import { PostgresServer } from './harness/postgres.server.js';
import { judge } from './harness/verdict.js';

/** A short look at the worst faults; `npm run test:faults` tries all of them, with more tasks and more troubles. */
describe('Faults', () => {
  const premises = shared(async () => {
    const guardian = new Guardian();
    whenFinished(() => guardian.close());
    const server = await PostgresServer.start(guardian);
    whenFinished(() => server.close());
    // The ledger is on the server of the other tests, which nobody stops.
    const ledger = await LedgerReader.open(await freshDatabase());
    whenFinished(() => ledger.close());
    return { guardian, server, ledger, leaseMs: 2_000, scale: 0.2, progress: () => {} };
  });

  const short = [killNine, sigstop, blackholeHalf, settleReplyLost, tenRestarts, sigtermClaiming];
  it.each(short)('holds every invariant: $name', { timeout: 90_000 }, async (fault) => {
    const { failures } = await judge(fault, premises());
    expect(failures).toEqual([]);
  });
});
