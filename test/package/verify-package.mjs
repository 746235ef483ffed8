/**
 * Checks what a user installs: packs the package as it was built, judges the tarball, installs it beside its peers and
 * runs one small application as an ES module and as CommonJS against a real PostgreSQL.
 *
 * Run by `npm run verify:package`, after a build. `DATABASE_URL` names the server; without it, the embedded PostgreSQL
 * of the installed package is started, which proves that this works from an installed package too.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { basename, dirname, join, posix, resolve, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import pg from 'pg';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';

/** A problem that leaves nothing to go on with. */
class Failure extends Error {}

const repository = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const manifest = readJson(join(repository, 'package.json'));
const require = createRequire(import.meta.url);

/** What an application installs beside the package and its peers. */
const tools = ['@types/node'];

/** Those of a Nest application, strict, and with the declarations of all that is installed checked too. */
const compilerOptions = {
  target: 'ES2022',
  module: 'NodeNext',
  moduleResolution: 'NodeNext',
  types: ['node'],
  strict: true,
  exactOptionalPropertyTypes: true,
  experimentalDecorators: true,
  emitDecoratorMetadata: true,
  esModuleInterop: true,
  skipLibCheck: false,
};

/** @type {string[]} */
const problems = [];
/** @type {string[]} */
const summary = [];
const started = performance.now();
const root = mkdtempSync(join(tmpdir(), 'verify-package-'));
process.once('exit', () => rmSync(root, { recursive: true, force: true, maxRetries: 3 }));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));

try {
  // Embedded PostgreSQL refuses to run as root and then runs as a user who has to reach the binaries.
  chmodSync(root, 0o755);
  await verify();
} catch (error) {
  problems.push(error instanceof Failure ? error.message : String(error instanceof Error ? error.stack : error));
}

for (const line of summary) console.log(`  ${line}`);
if (problems.length) {
  console.error(`\nThe package is not fit to be published:\n\n${problems.map((text) => `- ${text}`).join('\n')}`);
  process.exitCode = 1;
} else {
  console.log(`${manifest.name}@${manifest.version} is fit to be published (${seconds(started)})`);
}

async function verify() {
  for (const target of exportTargets()) {
    if (!existsSync(join(repository, target)))
      throw new Failure(`${target} does not exist: run "npm run build" first.`);
  }
  const { tarball, files } = pack();
  checkContents(files);
  await checkPublint(tarball);
  checkTypes(tarball);
  install(tarball);
  const installed = join(root, 'node_modules', manifest.name);
  checkTexts(installed, files);
  await checkExportNames(installed);
  await runApplications();
}

/** @returns {{ tarball: string, files: string[] }} */
function pack() {
  // Without scripts: prepack would build once more.
  const output = npm(['pack', '--json', '--ignore-scripts', '--pack-destination', root], repository);
  const [packed] = Object.values(JSON.parse(output));
  const files = packed.files.map((/** @type {{ path: string }} */ file) => file.path);
  summary.push(`packed      ${files.length} files, ${kib(packed.size)} packed, ${kib(packed.unpackedSize)} unpacked`);
  return { tarball: join(root, basename(packed.filename)), files };
}

/** @param {string[]} files */
function checkContents(files) {
  const allowed = [/^dist\/.+\.(js|d\.ts|js\.map)$/, /^(package\.json|README\.md|LICENSE|CHANGELOG\.md)$/];
  for (const file of files) {
    if (!allowed.some((pattern) => pattern.test(file))) problems.push(`The tarball contains ${file}.`);
    if (/\.(spec|test)\.|(^|\/)(test|tests|sample|samples|fixtures)\//.test(file)) {
      problems.push(`The tarball contains a test or a sample: ${file}.`);
    }
  }
  for (const file of ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md', ...exportTargets()]) {
    if (!files.includes(file)) problems.push(`The tarball lacks ${file}.`);
  }
}

/** @param {string} tarball */
async function checkPublint(tarball) {
  const bytes = readFileSync(tarball);
  const { messages, pkg } = await publint({ pack: { tarball: new Uint8Array(bytes).buffer }, strict: true });
  for (const message of messages) problems.push(`publint (${message.type}): ${formatMessage(message, pkg)}`);
  summary.push(`publint     ${messages.length} messages`);
}

/** @param {string} tarball */
function checkTypes(tarball) {
  const cli = join(dirname(require.resolve('@arethetypeswrong/cli/package.json')), 'dist/index.js');
  const result = run(
    process.execPath,
    [cli, tarball, '--profile', 'esm-only', '--no-color', '--format', 'ascii'],
    root,
  );
  if (result.status !== 0) problems.push(`are the types wrong?\n${indent(result.output)}`);
  summary.push(`attw        ${result.status === 0 ? 'no problems' : 'problems'} (profile esm-only)`);
}

/** @param {string} tarball */
function install(tarball) {
  const begun = performance.now();
  const peers = [...Object.keys(manifest.peerDependencies), ...tools];
  // The versions of the repository: what is checked is the package, and npm has them in its cache.
  const dependencies = Object.fromEntries(
    peers.map((name) => [name, readJson(join(repository, 'node_modules', name, 'package.json')).version]),
  );
  dependencies[manifest.name] = `file:${basename(tarball)}`;
  writeFileSync(join(root, 'package.json'), JSON.stringify({ name: 'applications', private: true, dependencies }));
  npm(['install', '--prefer-offline', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error'], root);
  summary.push(`installed   beside ${peers.length - tools.length} peers (${seconds(begun)})`);
}

/**
 * No shipped text may name a folder of the machine that built it.
 *
 * @param {string} installed
 * @param {string[]} files
 */
function checkTexts(installed, files) {
  const folders = [repository, homedir()].filter((folder) => folder.split(sep).filter(Boolean).length >= 2);
  for (const file of files) {
    const text = readFileSync(join(installed, file), 'utf8');
    for (const found of [...folders, 'file:///']) {
      if (text.includes(found)) problems.push(`${file} contains "${found}".`);
    }
    if (!file.endsWith('.map')) continue;
    const { sources, sourcesContent } = JSON.parse(text);
    for (const [index, source] of sources.entries()) {
      if (/^([/\\]|[a-z]+:)/i.test(source)) problems.push(`${file} names its source by a machine's path: ${source}.`);
      if (typeof sourcesContent?.[index] !== 'string') problems.push(`${file} does not carry the text of ${source}.`);
    }
  }
}

/**
 * Each entry point exports at run time what its declarations say, no more and no less.
 *
 * @param {string} installed
 */
async function checkExportNames(installed) {
  const counts = [];
  for (const [entry, target] of Object.entries(manifest.exports)) {
    if (typeof target === 'string') continue;
    const declared = declaredValues(readFileSync(join(installed, target.types), 'utf8'), target.types);
    const module = await import(pathToFileURL(join(installed, target.default)).href);
    const actual = Object.keys(module);
    const missing = declared.filter((name) => !actual.includes(name));
    const surplus = actual.filter((name) => !declared.includes(name));
    if (missing.length) problems.push(`"${entry}" declares ${missing.join(', ')} but does not export them.`);
    if (surplus.length) problems.push(`"${entry}" exports ${surplus.join(', ')} but does not declare them.`);
    if (!declared.length) problems.push(`"${entry}" declares no value at all.`);
    counts.push(`${entry} ${actual.length}`);
  }
  summary.push(`exports     ${counts.join(', ')}`);
}

/**
 * The names of the values that an entry point's declarations export. The entry points list their exports by name.
 *
 * @param {string} source
 * @param {string} file
 */
function declaredValues(source, file) {
  const code = source.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
  if (/export\s+\*/.test(code)) throw new Failure(`${file} has "export *": list the exports by name.`);
  const names = [];
  for (const [, list = ''] of code.matchAll(/export\s+\{([^}]*)\}/g)) {
    for (const item of list.split(',').map((text) => text.trim())) {
      if (item && !item.startsWith('type ')) names.push(/** @type {string} */ (item.split(/\s+as\s+/).at(-1)));
    }
  }
  const declarations = /export\s+declare\s+(?:abstract\s+class|class|const|let|var|function|async\s+function)\s+(\w+)/g;
  for (const [, name = ''] of code.matchAll(declarations)) names.push(name);
  return [...new Set(names)];
}

async function runApplications() {
  const begun = performance.now();
  if (process.env.DATABASE_URL) {
    await runBoth(process.env.DATABASE_URL);
    return;
  }
  const embedded = join(root, 'node_modules', manifest.name, manifest.exports['./embedded'].default);
  const server = await (await import(pathToFileURL(embedded).href)).startEmbeddedPostgres();
  summary.push(`embedded    started from the installed package (${seconds(begun)})`);
  try {
    await runBoth(server.url);
  } finally {
    await server.stop();
  }
}

/** @param {string} url */
async function runBoth(url) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    for (const kind of /** @type {const} */ (['module', 'commonjs'])) {
      const schema = `verify_package_${kind}_${process.pid}`;
      runApplication(kind, url, schema);
      await client.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
    }
  } finally {
    await client.end();
  }
}

/**
 * @param {'module' | 'commonjs'} kind
 * @param {string} url
 * @param {string} schema
 */
function runApplication(kind, url, schema) {
  const begun = performance.now();
  const folder = join(root, kind);
  mkdirSync(folder);
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ private: true, ...(kind === 'module' && { type: kind }) }),
  );
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
  writeFileSync(join(folder, 'main.ts'), applicationSource(kind));

  const compiled = run(process.execPath, [compiler(), '-p', folder], folder);
  if (compiled.status !== 0) {
    problems.push(`The ${kind} application does not compile:\n${indent(compiled.output)}`);
    return;
  }
  const script = readFileSync(join(folder, 'main.js'), 'utf8');
  if (script.includes('require("') !== (kind === 'commonjs')) throw new Failure(`The ${kind} application is none.`);

  const env = { ...process.env, DATABASE_URL: url, VERIFY_SCHEMA: schema, NODE_ENV: 'production' };
  const ended = run(process.execPath, ['main.js'], folder, { env, timeout: 60_000 });
  if (ended.status !== 0 || ended.output.trim() !== 'OK') {
    problems.push(`The ${kind} application must print OK and exit with 0, but ${ended.how}:\n${indent(ended.output)}`);
  }
  summary.push(`${kind.padEnd(11)} ${ended.status === 0 ? 'OK' : 'failed'} (${seconds(begun)})`);
}

/** @param {'module' | 'commonjs'} kind */
function applicationSource(kind) {
  return `
import 'reflect-metadata';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { BackgroundTask, BackieModule, TaskEvents, TaskQueue, WorkerPool } from 'nestjs-backie';
import type { BackgroundTaskHandler, CurrentTask } from 'nestjs-backie';
import { TypeOrmTaskStore } from 'nestjs-backie/typeorm';
import { startEmbeddedPostgres } from 'nestjs-backie/embedded';

@Injectable()
class Guests {
  readonly greeted: string[] = [];
  private announce!: (greeting: string) => void;
  readonly first = new Promise<string>((resolve) => (this.announce = resolve));

  welcome(greeting: string): void {
    this.greeted.push(greeting);
    this.announce(greeting);
  }
}

@BackgroundTask('greet')
class Greet implements BackgroundTaskHandler<{ name: string }> {
  constructor(private readonly guests: Guests) {}

  run(payload: { name: string }, task: CurrentTask): void {
    this.guests.welcome(\`Hello \${payload.name}, attempt \${task.attempt} of \${task.name}\`);
  }
}

@Module({
  imports: [BackieModule.forRoot({ connection: process.env.DATABASE_URL!, schema: process.env.VERIFY_SCHEMA! })],
  providers: [Greet, Guests],
})
class AppModule {}

function expect(holds: boolean, what: string): void {
  if (!holds) throw new Error(\`Expected \${what}\`);
}

async function main(): Promise<void> {
  const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error', 'warn'] });
  expect(app.get(WorkerPool) instanceof WorkerPool, 'an injectable WorkerPool');
  expect(typeof TypeOrmTaskStore === 'function', 'TypeOrmTaskStore from nestjs-backie/typeorm');
  expect(typeof startEmbeddedPostgres === 'function', 'startEmbeddedPostgres from nestjs-backie/embedded');
  const done = new Promise<void>((resolve) => app.get(TaskEvents).done.subscribe(() => resolve()));

  const tasks = app.get(TaskQueue);
  const { id, duplicate } = await tasks.enqueue(Greet, { name: 'Ada' });
  // @ts-expect-error The payload's type comes from run().
  const refused = () => tasks.enqueue(Greet, { name: 1 });
  expect(typeof refused === 'function' && /^[0-9a-f-]{36}$/.test(id) && !duplicate, 'a new task');

  const greeting = await app.get(Guests).first;
  expect(greeting === 'Hello Ada, attempt 1 of greet', \`a greeting, not "\${greeting}"\`);
  await done;
  expect((await tasks.counts()).failed === 0, 'no failure');
  await app.close();
  expect(app.get(Guests).greeted.length === 1, 'one greeting');

  console.log('OK');
}

${kind === 'module' ? 'await main();' : 'void main().catch((error: unknown) => {\n  console.error(error);\n  process.exitCode = 1;\n});'}
`;
}

/** The repository's own compiler, which is TypeScript's newest. */
function compiler() {
  return join(dirname(require.resolve('@typescript/native/package.json')), 'bin/tsc');
}

/** @returns {string[]} */
function exportTargets() {
  return [
    ...new Set(
      Object.values(manifest.exports)
        .flatMap((target) => (typeof target === 'string' ? [target] : Object.values(target)))
        .map((target) => posix.normalize(target)),
    ),
  ];
}

/**
 * @param {string[]} args
 * @param {string} cwd
 */
function npm(args, cwd) {
  const cli = process.env.npm_execpath;
  const result = cli?.endsWith('.js')
    ? run(process.execPath, [cli, ...args], cwd, { stderr: false })
    : run('npm', args, cwd, { stderr: false });
  if (result.status !== 0) throw new Failure(`npm ${args.join(' ')}: ${result.how}:\n${indent(result.errors)}`);
  return result.output;
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {string} cwd
 * @param {{ env?: NodeJS.ProcessEnv, timeout?: number, stderr?: boolean }} [options]
 */
function run(command, args, cwd, { env = process.env, timeout = 240_000, stderr = true } = {}) {
  const {
    status,
    signal,
    stdout,
    stderr: errors,
    error,
  } = spawnSync(command, args, { cwd, env, timeout, encoding: 'utf8' });
  const how = error ? error.message : signal ? `it was ended by ${signal}` : `it exited with ${status}`;
  return { status, how, errors, output: stderr ? `${stdout}${errors}` : stdout };
}

/** @param {string} path */
function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** @param {string} text */
function indent(text) {
  return text.trim().replace(/^/gm, '    ');
}

/** @param {number} since */
function seconds(since) {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}

/** @param {number} bytes */
function kib(bytes) {
  return `${(bytes / 1024).toFixed(0)} KiB`;
}
