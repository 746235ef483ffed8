/**
 * What nestjs-backie must reach, and what it aims at. A target is a ratio of medians of one run, or a plain number, and
 * a bound for it.
 *
 * @typedef {object} Target
 * @property {'must' | 'aim'} level
 * @property {string} text
 * @property {(of: (row: string, adapter?: string) => number) => number} ratio NaN when something was not measured.
 * @property {'≥' | '≤'} sign
 * @property {number} bound
 * @property {string} [unit]
 */

const postgresPeers = ['graphile', 'pgboss', 'bullmq-pg'];
const redis = ['bullmq-redis', 'bullmq-redis-tuned'];

/** The largest of those that were measured; NaN when none was. */
const largest = (values) => {
  const measured = values.filter(Number.isFinite);
  return measured.length > 0 ? Math.max(...measured) : NaN;
};
const best = (of, row, adapters) => largest(adapters.map((adapter) => of(row, adapter)));

const target = (level, text, sign, bound, ratio, unit) => ({ level, text, sign, bound, ratio, unit });

/** @type {Target[]} */
export const targets = [
  target(
    'must',
    'W1, 10 in flight: the best PostgreSQL peer',
    '≥',
    6,
    (of) => of('W1.10') / best(of, 'W1.10', postgresPeers),
  ),
  target('aim', 'W1, 10 in flight: BullMQ on Redis', '≥', 1, (of) => of('W1.10') / of('W1.10', 'bullmq-redis')),
  target('must', 'W1, 100 in flight: BullMQ on Redis', '≥', 1, (of) => of('W1.100') / of('W1.100', 'bullmq-redis')),
  target('aim', 'W1, 100 in flight: BullMQ on Redis', '≥', 2, (of) => of('W1.100') / of('W1.100', 'bullmq-redis')),
  target('must', 'W2: graphile-worker', '≥', 2, (of) => of('W2') / of('W2', 'graphile')),
  target('aim', 'W2: graphile-worker', '≥', 3, (of) => of('W2') / of('W2', 'graphile')),
  ...['20k', '100k'].flatMap((size) => {
    const row = `W3.${size}`;
    return [
      target('must', `W3, ${size}: graphile-worker tuned`, '≥', 1, (of) => of(row) / of(row, 'graphile-tuned')),
      target(
        'must',
        `W3, ${size}: BullMQ on Redis, the better of default and tuned`,
        '≥',
        2,
        (of) => of(row) / best(of, row, redis),
      ),
      target('aim', `W3, ${size}: graphile-worker tuned`, '≥', 1.5, (of) => of(row) / of(row, 'graphile-tuned')),
      target('must', `W3, ${size}: keepAll beside removeDone`, '≥', 0.5, (of) => of(row, 'backie-keepall') / of(row)),
      target('aim', `W3, ${size}: keepAll beside removeDone`, '≥', 0.7, (of) => of(row, 'backie-keepall') / of(row)),
    ];
  }),
  target('must', 'W4, p50: BullMQ on Redis', '≤', 1.1, (of) => of('W4.p50') / of('W4.p50', 'bullmq-redis')),
  target('must', 'W4, p99: BullMQ on Redis', '≤', 1.1, (of) => of('W4.p99') / of('W4.p99', 'bullmq-redis')),
  target('aim', 'W4, p50: BullMQ on Redis', '≤', 1, (of) => of('W4.p50') / of('W4.p50', 'bullmq-redis')),
  target('aim', 'W4, p99: BullMQ on Redis', '≤', 0.8, (of) => of('W4.p99') / of('W4.p99', 'bullmq-redis')),
  target('must', 'W4b, p50: graphile-worker', '≤', 0.7, (of) => of('W4b.p50') / of('W4b.p50', 'graphile')),
  target('aim', 'W4b, p50: BullMQ on Redis', '≤', 1.1, (of) => of('W4b.p50') / of('W4b.p50', 'bullmq-redis')),
  ...['1M', 'future'].flatMap((name) => {
    const text = `W5, 1,000,000 ${name === '1M' ? 'waiting' : 'due in the future'}: the rate with 1,000`;
    const ratio = (of) => of(`W5.${name}`) / of(name === '1M' ? 'W5.1k' : 'W5.none');
    return [target('must', text, '≥', 0.9, ratio), target('aim', text, '≥', 0.95, ratio)];
  }),
  target('must', 'W6: 4 processes beside one', '≥', 1, (of) => of('W6.4') / of('W6.1')),
  target('aim', 'W6: 4 processes beside one, from their start', '≥', 1, (of) => of('W6.4.start') / of('W6.1.start')),
  target('aim', 'W6: 4 beside one, as the best peer', '≥', 1, (of) => {
    const kept = (adapter) => of('W6.4', adapter) / of('W6.1', adapter);
    return kept('backie') / largest(['graphile-tuned', 'pgboss-tuned', 'bullmq-redis-tuned'].map(kept));
  }),
  target('must', 'W7: transactions a second', '≤', 2, (of) => of('W7.statements'), ' /s'),
  target('must', 'W7: CPU', '≤', 1, (of) => of('W7.cpu'), ' %'),
  target('aim', 'W7: transactions a second', '≤', 1.2, (of) => of('W7.statements'), ' /s'),
  target('must', 'W8: size after 1,000,000 beside 100,000', '≤', 2, (of) => of('W8.1M') / of('W8.100k')),
  target('must', 'W10: rate after beside before', '≥', 0.8, (of) => of('W10.rateAfter') / of('W10.rateBefore')),
  target('must', 'W10: p50 after beside before', '≤', 2, (of) => of('W10.p50After') / of('W10.p50Before')),
  target('aim', 'W10: rate after beside before', '≥', 0.95, (of) => of('W10.rateAfter') / of('W10.rateBefore')),
  target('aim', 'W10: p99 after beside before', '≤', 3, (of) => of('W10.p99After') / of('W10.p99Before')),
  target('must', 'W12: W3 with 100,000, in turns', '≥', 0.9, (of) => of('W12.with') / of('W12.without')),
  target('must', 'W11: slots busy', '≥', 95, (of) => of('W11.busy'), ' %'),
  target('must', 'W11: the least busy process, of an equal share', '≥', 80, (of) => of('W11.fairness'), ' %'),
  target('aim', 'W11: slots busy', '≥', 98, (of) => of('W11.busy'), ' %'),
  ...['W1.10', 'W1.100', 'W2', 'W3.20k', 'W3.100k'].map((row) =>
    target('must', `${row}: the checkout beside it`, '≥', 0.97, (of) => of(row) / of(row, 'backie-beside')),
  ),
  target('must', 'memory above the bare app', '≤', 25, (of) => of('memory.rss'), ' MB'),
  target('aim', 'memory above the bare app', '≤', 15, (of) => of('memory.rss'), ' MB'),
  target('must', 'start above the bare app', '≤', 150, (of) => of('start.first'), ' ms'),
];

/**
 * The targets for which all was measured.
 *
 * @param {import('./results.mjs').Results} results
 */
export function judge(results) {
  const of = (row, adapter = 'backie') => results.median(row, adapter) ?? NaN;
  return targets
    .map(({ ratio, ...rest }) => ({ ...rest, value: ratio(of) }))
    .filter(({ value }) => Number.isFinite(value))
    .map((judged) => ({
      ...judged,
      reached: judged.sign === '≥' ? judged.value >= judged.bound : judged.value <= judged.bound,
    }));
}
