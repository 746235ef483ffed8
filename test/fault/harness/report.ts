import type { Verdict } from './verdict.js';

const headings = [
  'fault',
  'tasks',
  'lost',
  'duplicates',
  'stale settles blocked',
  'stale settles written',
  'recovery s',
  'took s',
  'verdict',
];

/** The table of all verdicts. */
export function table(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map((verdict) => [
    verdict.name,
    ...[verdict.tasks, verdict.lost, verdict.duplicates, verdict.staleBlocked, verdict.staleWritten].map(String),
    verdict.recoverySeconds.toFixed(1),
    verdict.tookSeconds.toFixed(1),
    verdict.skipped ? `skipped: ${verdict.skipped}` : verdict.failures.length ? 'FAILED' : 'ok',
  ]);
  const widths = headings.map((heading, column) => Math.max(heading.length, ...rows.map((row) => row[column].length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) =>
        column > 0 && column < cells.length - 1 ? cell.padStart(widths[column]) : cell.padEnd(widths[column]),
      )
      .join('  ')
      .trimEnd();
  return [line(headings), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
}
