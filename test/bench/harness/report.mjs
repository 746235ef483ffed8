import { variants } from '../adapters/index.mjs';
import { chosen } from './bench.mjs';
import { disturbing } from './meter.mjs';
import { judge } from './targets.mjs';
import { workloads } from '../workloads/index.mjs';

const footnote = `\\* others used more than ${disturbing * 100} % of the machine meanwhile.`;

/**
 * @param {import('./results.mjs').Results} results
 * @param {import('./options.mjs').Options} options
 * @param {Record<string, string>} machine
 */
export function markdown(results, options, machine) {
  const plan = chosen(options, true);
  const measured = Object.keys(variants).filter((name) =>
    results.measurements.some(({ adapter, values }) => adapter === name && values),
  );
  const failures = results.measurements.filter(({ error }) => error);
  return [
    '# nestjs-backie beside its peers',
    Object.entries(machine)
      .map(([name, value]) => `- ${name}: ${value}`)
      .join('\n'),
    failures.length > 0 &&
      `## Failed\n\n${failures.map((failure) => `- ${failure.case} ${failure.adapter}: ${failure.error}`).join('\n')}`,
    `## Results\n\n${resultTable(results, plan, measured)}`,
    `${medians(results, options)} ${footnote}`,
    targetSection(results),
    costSection(results, plan, measured),
    `## Settings\n\n${measured.map((name) => `- ${variants[name].title}: ${variants[name].how}.`).join('\n')}`,
  ]
    .filter(Boolean)
    .join('\n\n')
    .concat('\n');
}

const shortColumns = [
  'backie',
  'graphile',
  'graphile-tuned',
  'pgboss',
  'pgboss-tuned',
  'bullmq-pg',
  'bullmq-redis',
  'bullmq-redis-tuned',
];
const marked = /(?<=<!-- bench -->\n)[^]*(?=<!-- \/bench -->)/;

/**
 * The README with the results between its marks.
 *
 * @param {string} readme
 * @param {import('./results.mjs').Results} results
 * @param {import('./options.mjs').Options} options What was measured.
 * @param {Record<string, string>} machine
 */
export function withResults(readme, results, options, machine) {
  if (!marked.test(readme)) throw new Error('The README has no marks <!-- bench --> and <!-- /bench -->.');
  const plan = workloads.flatMap((workload) => workload.cases(options).map((testCase) => ({ testCase })));
  const source = `${medians(results, options)} ${machine.machine}; ${machine.servers}; ${machine.versions}. ${footnote}`;
  return readme.replace(marked, () => `\n${resultTable(results, plan, shortColumns)}\n\n${source}\n\n`);
}

function medians(results, { reps }) {
  const measured = workloads.filter(({ id }) => results.measurements.some(({ workload }) => workload === id));
  const each = measured.map(({ id, once, times = 1, repeats = once ? 1 : reps * times }) => `${id} of ${repeats}`);
  return `Medians [least–most]: ${each.join(', ')}.`;
}

function resultTable(results, plan, measured) {
  const rows = plan
    .flatMap(({ testCase }) => testCase.rows)
    .filter(({ id }) => measured.some((name) => results.cell(id, name)))
    .map(({ id, title, unit }) => [`${title}, ${unit}`, ...measured.map((name) => cell(results, id, name))]);
  return table(['', ...measured.map((name) => variants[name].title)], rows);
}

function cell(results, id, name) {
  const found = results.cell(id, name);
  if (!found) return '–';
  const range = found.values.length > 1 ? ` [${number(found.min)}–${number(found.max)}]` : '';
  return `${number(found.median)}${range}${results.foreignCpu(id, name) > disturbing ? ' \\*' : ''}`;
}

function targetSection(results) {
  const judged = judge(results);
  if (judged.length === 0) return undefined;
  const rows = judged.map(({ level, text, sign, bound, value, unit = ' ×', reached }) => [
    text,
    level,
    `${sign} ${bound}${unit}`,
    `${number(value)}${unit}`,
    reached ? 'reached' : '**not reached**',
  ]);
  return `## Targets\n\n${table(['nestjs-backie beside', '', 'bound', 'measured', ''], rows)}`;
}

function costSection(results, plan, measured) {
  const ids = plan.flatMap(({ testCase }) => [testCase.id, ...testCase.rows.map(({ id }) => id)]);
  const rows = [...new Set(ids)].flatMap((id) =>
    measured.flatMap((name) => {
      const cost = results.cost(id, name);
      if (!cost) return [];
      const micro = (/** @type {number | undefined} */ ms) => (ms === undefined ? '–' : number(ms * 1000));
      const transactions = cost.transactions === undefined ? '–' : number(cost.transactions);
      const wal = cost.walBytes === undefined ? '–' : number(cost.walBytes);
      return [[id, variants[name].title, micro(cost.nodeCpuMs), micro(cost.serverCpuMs), wal, transactions]];
    }),
  );
  if (rows.length === 0) return undefined;
  const head = ['', '', 'CPU Node, µs', 'CPU server, µs', 'WAL, bytes', 'transactions (Redis: commands)'];
  return `## Cost of a task\n\n${table(head, rows)}`;
}

function table(/** @type {string[]} */ head, /** @type {string[][]} */ rows) {
  const line = (/** @type {string[]} */ cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Three digits that matter, no more. */
function number(/** @type {number} */ value) {
  if (Math.abs(value) >= 100) return Math.round(Number(value.toPrecision(3))).toLocaleString('en');
  return String(Number(value.toPrecision(value < 0.1 ? 2 : 3)));
}
