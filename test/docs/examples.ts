import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const repository = fileURLToPath(new URL('../../', import.meta.url));

/** Below the package's own folder, so that 'nestjs-backie' resolves by self-reference, to the build. */
const workplace = join(repository, 'test/dist/docs');

/** One block of TypeScript in a Markdown file. */
export interface Example {
  /** Relative to the repository, with slashes. */
  readonly file: string;
  /** Of the fence that opens the block, counted from 1. */
  readonly line: number;
  readonly code: string;
}

/** The Markdown files whose examples users copy: those of the repository's own folder, docs/ and sample/. */
export function documents(): string[] {
  const below = ['docs', 'sample'].flatMap((folder) => markdown(folder, true));
  return [...markdown('.', false), ...below].sort();
}

function markdown(folder: string, recursive: boolean): string[] {
  const top = resolve(repository, folder);
  let entries;
  try {
    entries = readdirSync(top, { recursive, withFileTypes: true });
  } catch {
    return [];
  }
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.md'))
    .map((entry) => relative(repository, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .filter((file) => !/(^|\/)(node_modules|dist)\//.test(file));
}

export function examplesOf(file: string): Example[] {
  return examplesIn(file, readFileSync(join(repository, file), 'utf8'));
}

/** The blocks that are fenced as `ts` or `typescript`, whatever else stands behind that. */
export function examplesIn(file: string, text: string): Example[] {
  const examples: Example[] = [];
  let fence: { line: number; end: string; typescript: boolean; code: string[] } | undefined;
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (fence && line.trim() === fence.end) {
      if (fence.typescript) examples.push({ file, line: fence.line, code: fence.code.join('\n') });
      fence = undefined;
    } else if (fence) {
      fence.code.push(line);
    } else {
      const [, end, language] = /^\s*(`{3,}|~{3,})\s*([\w-]*)/.exec(line) ?? [];
      if (end) fence = { line: index + 1, end, typescript: /^(ts|typescript)$/i.test(language ?? ''), code: [] };
    }
  }
  if (fence) throw new Error(`${file}:${fence.line}: the code block is never closed.`);
  return examples;
}

/**
 * Compiles each example as a module of its own, under the package's own compiler options and those given.
 *
 * @returns The errors by example, with the lines of the Markdown file; errors outside of all examples throw.
 */
export async function compile(
  examples: readonly Example[],
  more: Readonly<Record<string, boolean>> = {},
): Promise<ReadonlyMap<Example, readonly string[]>> {
  rmSync(workplace, { recursive: true, force: true });
  mkdirSync(workplace, { recursive: true });
  writeFileSync(join(workplace, 'tsconfig.json'), JSON.stringify(configurationWith(more)));
  const byName = new Map(examples.map((example) => [nameOf(example), example]));
  for (const [name, { line, code }] of byName) {
    // Pushed down to its place in the document, so that the compiler's lines are the document's.
    writeFileSync(join(workplace, name), `${'\n'.repeat(line)}${code}\nexport {};\n`);
  }

  const errors = new Map<Example, string[]>(examples.map((example) => [example, []]));
  for (const diagnostic of await runCompiler()) {
    const [, name = '', line, problem] = /^(?:.*[\\/])?([^\\/(]+)\((\d+),\d+\): (error [^]*)$/.exec(diagnostic) ?? [];
    const example = byName.get(name);
    if (!example) throw new Error(`The compiler failed outside of the examples: ${diagnostic}`);
    errors.get(example)?.push(`${example.file}:${line}: ${problem}`);
  }
  return errors;
}

const configurationWith = (more: Readonly<Record<string, boolean>>) => ({
  extends: '../../../tsconfig.json',
  compilerOptions: {
    rootDir: '../../..',
    outDir: 'out',
    noEmit: true,
    allowJs: false,
    checkJs: false,
    noUnusedLocals: false,
    noUnusedParameters: false,
    ...more,
  },
  include: ['*.ts', '../../docs/readme-globals.d.ts'],
});

function nameOf({ file, line }: Example): string {
  return `${file.replace(/\.md$/, '').replaceAll('/', '__')}-L${line}.ts`;
}

/** @returns One entry a diagnostic, its explanatory lines included. */
function runCompiler(): Promise<string[]> {
  const tsc = join(repository, 'node_modules/@typescript/native/bin/tsc');
  const args = [tsc, '-p', workplace, '--pretty', 'false'];
  return new Promise((done, fail) => {
    execFile(process.execPath, args, { cwd: workplace, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      const diagnostics = stdout.split(/\r?\n(?=\S)/).map((text) => text.trim());
      if (stderr.trim()) fail(new Error(stderr));
      else if (error && !stdout.trim()) fail(error);
      else done(diagnostics.filter(Boolean));
    });
  });
}
