/**
 * nestjs-backie beside its peers. See README.md.
 *
 * Ends with 1 only when something failed: a task that was lost or ran twice, or a measurement that could not be made.
 * Never because of a time.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { install } from './harness/install.mjs';
import { readOptions, usage } from './harness/options.mjs';
import { Results } from './harness/results.mjs';

const options = readOptions(process.argv.slice(2));
if (options.help) {
  console.log(usage);
  process.exit();
}
if (options.list) {
  const [{ variants }, { workloads }] = await Promise.all([
    import('./adapters/index.mjs'),
    import('./workloads/index.mjs'),
  ]);
  for (const { id, about, cases } of workloads) {
    console.log(
      `${id}: ${about} (${cases(options)
        .map((testCase) => testCase.id)
        .join(', ')})`,
    );
  }
  for (const [name, { how }] of Object.entries(variants)) console.log(`${name}: ${how}`);
  process.exit();
}

const { results, measured, machine, interrupted } = options.from ? earlier(options.from) : await run();
const { markdown, withResults } = await import('./harness/report.mjs');
const report = markdown(results, measured, machine);
console.log(report);
if (options.markdown) writeFileSync(options.markdown, report);
if (options.json) {
  const { judge } = await import('./harness/targets.mjs');
  const content = { machine, options: measured, targets: judge(results), measurements: results.measurements };
  writeFileSync(options.json, JSON.stringify(content, null, 2));
}
if (options.readme) {
  const { format, resolveConfig } = await import('prettier');
  const readme = fileURLToPath(new URL('../../README.md', import.meta.url));
  const text = withResults(readFileSync(readme, 'utf8'), results, measured, machine);
  writeFileSync(readme, await format(text, { ...(await resolveConfig(readme)), filepath: readme }));
}
if (interrupted || results.measurements.some(({ error }) => error)) process.exitCode = 1;

/** Measures what the options ask for. */
async function run() {
  const { node, build, versions } = install(options);
  // Only now is there what these import.
  const { startPostgres, startRedis } = await import('./harness/servers.mjs');
  const { Bench } = await import('./harness/bench.mjs');
  const postgres = await startPostgres({ ...options, url: process.env.BENCH_DATABASE_URL });
  const redis = await startRedis({ url: process.env.REDIS_URL, bin: options.redisBin });
  const bench = new Bench(options, { node, postgres, redis });
  let stopped = false;
  process.once('SIGINT', () => {
    stopped = true;
    bench.interrupt();
  });
  try {
    await bench.run();
  } finally {
    await redis?.stop();
    await postgres.stop();
  }
  const machine = {
    when: new Date().toISOString(),
    machine: `${cpus().length} × ${cpus()[0]?.model ?? process.arch}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform} ${release()}`,
    servers: [postgres.description, redis?.description ?? 'no Redis'].join('; '),
    versions: Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
    build: `nestjs-backie ${build}`,
    options: process.argv.slice(2).join(' ') || 'none',
  };
  return { results: new Results(bench.measurements), measured: options, machine, interrupted: stopped };
}

/** What an earlier run wrote. */
function earlier(/** @type {string} */ file) {
  const { measurements, options: measured, machine } = JSON.parse(readFileSync(file, 'utf8'));
  return { results: new Results(measurements), measured, machine, interrupted: false };
}
