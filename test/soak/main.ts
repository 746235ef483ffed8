/**
 * Lets random faults meet a steady load: `npm run soak -- --minutes 30`. Each round ends with the same checks as a
 * fault; the processes, but for those that are killed, live through all rounds, so that what leaks shows.
 */
import { parseArgs } from 'node:util';
import { Guardian } from '../fault/harness/guardian.js';
import { Harness } from '../fault/harness/harness.js';
import { LedgerReader } from '../fault/harness/ledger.js';
import { PostgresServer } from '../fault/harness/postgres.server.js';
import { check, checkEnd, checkProcesses } from '../fault/harness/verdict.js';
import { elder, troubles } from './troubles.js';

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' } } });
const endsAt = performance.now() + Number(values.minutes) * 60_000;
const roundMs = 30_000;
const tasksARound = 6_000;

const guardian = new Guardian();
const server = await PostgresServer.start(guardian);
const records = await PostgresServer.start(guardian);
const ledger = await LedgerReader.open(records.url('postgres'));
const premises = { guardian, server, ledger, leaseMs: 4_000, scale: 1, progress: () => {} };
const harness = await Harness.open(premises, 'soak');
try {
  await soak();
} catch (error) {
  harness.failures.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
}
for (const failure of harness.failures) console.log(failure);
if (harness.failures.length) for (const app of harness.apps) console.log(`log of ${app.settings.name}:\n${app.log}`);
process.exitCode = harness.failures.length ? 1 : 0;
await harness.close();
await ledger.close();
await Promise.all([server.close(), records.close()]);
await guardian.close();

async function soak(): Promise<void> {
  await harness.startWorkers();
  const producer = await harness.load({ tasks: 500, overMs: 1_000 });
  await harness.loaded;
  const sums = { tasks: 0, lost: 0, duplicates: 0, staleBlocked: 0 };
  let first: Sizes | undefined;
  for (let round = 1; !harness.failures.length && (round === 1 || performance.now() < endsAt); round++) {
    const met = await disturb(() => harness.load({ tasks: tasksARound, overMs: roundMs }, producer));
    const { recoverySeconds, ...counts } = await check(harness);
    checkProcesses(harness);
    for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += counts[key];
    const sizes = await measure();
    first ??= sizes;
    console.log(
      `round ${round}: ${counts.tasks} tasks, lost ${counts.lost}, ${counts.duplicates} duplicates, ` +
        `${counts.staleBlocked} stale settles blocked, recovery ${recoverySeconds} s; ${describe(sizes)}; ${met.join(', ')}`,
    );
    harness.notes.length = 0;
    await harness.forget();
  }
  await checkEnd(harness);
  const last = await measure().catch(() => undefined);
  console.log(
    `${sums.tasks} tasks, lost = ${sums.lost}, ${sums.duplicates} duplicates, ${sums.staleBlocked} stale settles blocked`,
  );
  if (first) console.log(`after the first round: ${describe(first)}`);
  if (last) console.log(`at the end:            ${describe(last)}`);
}

/** Random troubles, one after the other, while a load is enqueued. */
async function disturb(load: () => Promise<unknown>): Promise<string[]> {
  const met: string[] = [];
  await load();
  for (const until = performance.now() + roundMs; performance.now() < until; await harness.last(500)) {
    const trouble = troubles[Math.floor(Math.random() * troubles.length)];
    met.push(trouble.name);
    await trouble.cause(harness);
  }
  return met;
}

interface Sizes {
  readonly workerBytes: number;
  readonly producerBytes: number;
  readonly tableBytes: number;
  readonly connections: number;
}

async function measure(): Promise<Sizes> {
  const [{ bytes }] = await harness.sql<{ bytes: string }>(`SELECT pg_total_relation_size('backie.task') AS bytes`);
  const producer = harness.apps.find(({ settings }) => !settings.workers);
  return {
    workerBytes: elder(harness)?.rssBytes ?? harness.apps[0].rssBytes,
    producerBytes: producer?.rssBytes ?? 0,
    tableBytes: Number(bytes),
    connections: await harness.connections(),
  };
}

function describe({ workerBytes, producerBytes, tableBytes, connections }: Sizes): string {
  const mb = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
  return `worker ${mb(workerBytes)}, producer ${mb(producerBytes)}, task table ${mb(tableBytes)}, ${connections} connections`;
}
