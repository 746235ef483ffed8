/**
 * Tries faults, then the model of the task store with a thousand histories on PostgreSQL, and prints what came of each: `npm run test:faults -- [--list] [--only name]… [--scale n]`.
 * Exits with 1 when an invariant does not hold.
 */
import { parseArgs } from 'node:util';
import { faults } from './faults/index.js';
import { Guardian } from './harness/guardian.js';
import { LedgerReader } from './harness/ledger.js';
import { PostgresServer } from './harness/postgres.server.js';
import { table } from './harness/report.js';
import { model } from './harness/model.js';
import { judge, type Verdict } from './harness/verdict.js';

const { values } = parseArgs({
  options: {
    list: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
    scale: { type: 'string', default: '1' },
  },
});

if (values.list) {
  for (const { name, shows } of [...faults, model]) console.log(`${name.padEnd(24)} ${shows}`);
} else {
  const unknown = values.only?.filter((name) => ![...faults, model].some((known) => known.name === name)) ?? [];
  if (unknown.length) throw new Error(`There is no fault ${unknown.join(', ')}; --list shows them all.`);
  const chosen = faults.filter(({ name }) => !values.only || values.only.includes(name));
  const verdicts = chosen.length ? await tryAll(chosen) : [];
  if (chosen.length) console.log(`\n${table(verdicts)}`);
  const failed = verdicts.filter(({ failures }) => failures.length);
  for (const { name, failures } of failed) console.log(`\n${name} failed:\n${failures.join('\n')}`);
  const holds = values.only && !values.only.includes(model.name) ? true : await model.holds();
  process.exitCode = failed.length || !holds ? 1 : 0;
}

async function tryAll(chosen: typeof faults): Promise<Verdict[]> {
  const guardian = new Guardian();
  const verdicts: Verdict[] = [];
  try {
    const server = await PostgresServer.start(guardian);
    const records = await PostgresServer.start(guardian);
    const ledger = await LedgerReader.open(records.url('postgres'));
    for (const fault of chosen) {
      const startedAt = performance.now();
      const progress = (line: string) =>
        console.log(`${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(6)} s  ${fault.name}: ${line}`);
      progress(fault.shows);
      const verdict = await judge(fault, {
        guardian,
        server,
        ledger,
        leaseMs: 4_000,
        scale: Number(values.scale),
        progress,
      });
      for (const note of verdict.notes) progress(note);
      progress(verdict.failures.length ? `FAILED: ${verdict.failures[0].split('\n')[0]}` : 'ok');
      verdicts.push(verdict);
    }
    await ledger.close();
    await Promise.all([server.close(), records.close()]);
  } finally {
    await guardian.close();
  }
  return verdicts;
}
