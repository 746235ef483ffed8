import { readFileSync } from 'node:fs';
import { BackgroundTask, MemoryTaskStore } from 'nestjs-backie';
import { describe, expect, it } from 'vitest';
import { type BackieOptions, bootApp } from '../support/app.js';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

/** The rows of the tables below a heading, by the option that each is about. */
function rowsOf(heading: string): ReadonlyMap<string, string> {
  const [, section = ''] = readme.split(`\n${heading}\n`);
  const rows = section.split(/\n##/)[0].matchAll(/^\| `(\w+)` .*$/gm);
  return new Map([...rows].map(([row, option]) => [option, row]));
}

const boot = (options: object) => bootApp([], { store: new MemoryTaskStore(), ...options } as BackieOptions);
const tasks = async () => (await boot({ workers: false })).tasks;

/** Each place that takes options, with a way to give it one, and where the README says which there are. */
const places: [string, (options: object) => Promise<unknown>][] = [
  ['### Module options', boot],
  // In a table of their own.
  ['### Module options', (defaults) => boot({ defaults })],
  ['### Queue options', (options) => boot({ queues: [{ name: 'mail', ...options }] })],
  ['### Task options', async (options) => BackgroundTask('work', options)],
  ['### Enqueue options', async (options) => (await tasks()).enqueue('work', 1, options)],
  ['## Schedules', async (options) => (await tasks()).schedule('daily', 'work', options as never)],
];

const message = async (call: Promise<unknown>): Promise<string> => {
  const error: unknown = await call.catch((reason: unknown) => reason);
  return error instanceof Error ? error.message : '';
};

/** As the README writes the limits of ranges. */
const written: Readonly<Record<string, string>> = {
  2_147_483_647: '24 days',
  315_360_000_000: 'ten years',
};

describe('the README', () => {
  it.each(places)('has each option in the table of "%s", with its range', async (heading, give) => {
    const unknown = await message(give({ zzzzzzzzzzzz: 1 }));
    const options = /Options: (.*)\.$/.exec(unknown)?.[1].split(', ') ?? [];
    expect(options.length).toBeGreaterThan(5);
    const rows = rowsOf(heading);
    expect(options.filter((option) => !rows.has(option))).toEqual([]);
    for (const option of options) {
      const row = rows.get(option) ?? '';
      const [, type, byDefault, meaning] = row
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim())
        .slice(1);
      expect([type, byDefault, meaning], row).not.toContain('');
      const range = /from (-?\d+) to (\d+)/.exec(await message(give({ [option]: null })));
      for (const end of range?.slice(1) ?? []) {
        expect(row).toContain(written[end] ?? Number(end).toLocaleString('en-US'));
      }
    }
  });
});
