/**
 * Puts what is measured into test/bench/node_modules: the peers from the lock file, and the library as a user gets it,
 * packed from a build of its own, so that `dist` stays as it is and there is one copy of @nestjs/* and typeorm only.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const bench = resolve(fileURLToPath(new URL('..', import.meta.url)));
const repository = resolve(bench, '../..');
const modules = join(bench, 'node_modules');
const staging = join(bench, '.bench');
const stamps = join(modules, '.bench-stamps.json');

/** What the second checkout is installed as. */
const besideName = 'nestjs-backie-beside';

/** @param {{ library?: string, beside?: string }} options */
export function install({ library = repository, beside }) {
  const lock = hashOf([join(bench, 'package-lock.json')]);
  if (readStamps().lock !== lock) {
    log('Installing the peers');
    npm(['ci', '--ignore-scripts', '--engine-strict=false', '--no-audit', '--no-fund', '--loglevel=error'], bench);
    writeStamps({ lock });
  }
  log('Building nestjs-backie');
  const names = [stage(resolve(library), 'nestjs-backie'), ...(beside ? [stage(resolve(beside), besideName)] : [])];
  const hash = hashOf(names.flatMap((name) => filesIn(join(staging, name))));
  if (readStamps().library !== hash) {
    for (const name of ['nestjs-backie', besideName]) rmSync(join(modules, name), { recursive: true, force: true });
    // Both at once: npm removes what it did not save.
    const tarballs = names.map(pack);
    const quietly = ['--no-audit', '--no-fund', '--loglevel=error'];
    npm(
      [
        'install',
        ...tarballs,
        '--no-save',
        '--ignore-scripts',
        '--engine-strict=false',
        '--prefer-offline',
        ...quietly,
      ],
      bench,
    );
    for (const tarball of tarballs) rmSync(tarball);
    names.forEach(refuseDoubles);
    writeStamps({ lock, library: hash });
  }
  const node = nodeBinary();
  return { node, build: hash.slice(0, 12), versions: versions(node) };
}

/** What is measured, for the report. */
function versions(/** @type {string} */ node) {
  const names = ['nestjs-backie', 'graphile-worker', 'pg-boss', 'bullmq', 'pg', 'ioredis', '@nestjs/core', 'typeorm'];
  const { stdout } = spawnSync(node, ['--version'], { encoding: 'utf8' });
  return {
    node: stdout.trim(),
    ...Object.fromEntries(names.map((name) => [name, readJson(join(modules, name, 'package.json')).version])),
  };
}

/** The built package, without its scripts. */
function stage(/** @type {string} */ library, /** @type {string} */ name) {
  const folder = join(staging, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const { scripts: _scripts, ...manifest } = readJson(join(library, 'package.json'));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...manifest, name }, null, 2));
  npm(
    ['exec', '--no', '--', 'tsc', '-p', join(library, 'tsconfig.json'), '--outDir', join(folder, 'dist')],
    repository,
  );
  return name;
}

function pack(/** @type {string} */ name) {
  const [packed] = Object.values(JSON.parse(npm(['pack', '--json', '--pack-destination', '..'], join(staging, name))));
  return join(staging, basename(packed.filename));
}

/** Two copies of Nest or TypeORM would measure something no user has. */
function refuseDoubles(/** @type {string} */ name) {
  const nested = join(modules, name, 'node_modules');
  const doubles = existsSync(nested)
    ? readdirSync(nested).filter((name) => /^(@nestjs|typeorm|pg|rxjs)$/.test(name))
    : [];
  if (doubles.length > 0) throw new Error(`npm installed ${doubles.join(', ')} twice, in ${nested}.`);
}

/** Some peers need Node 22.18, so what is measured runs on a Node of its own. */
function nodeBinary() {
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
  const file = join(modules, name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
  if (existsSync(file)) return file;
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 22 || (major === 22 && minor >= 18)) return process.execPath;
  throw new Error(`The peers need Node 22.18, this is ${process.version}, and npm has no ${name}@24.`);
}

function npm(/** @type {string[]} */ args, /** @type {string} */ cwd) {
  const cli = process.env.npm_execpath;
  const viaNode = cli?.endsWith('.js');
  // What the npm that started us was told is about another folder.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([key]) => !/^npm_(config|package|lifecycle)/.test(key)),
  );
  const [command, prefix] = viaNode ? [process.execPath, [/** @type {string} */ (cli)]] : ['npm', []];
  const { status, stdout, stderr, error } = spawnSync(command, [...prefix, ...args], { cwd, env, encoding: 'utf8' });
  if (status !== 0) throw new Error(`npm ${args.join(' ')} failed in ${cwd}:\n${error ?? ''}${stdout}${stderr}`);
  return stdout;
}

function hashOf(/** @type {string[]} */ files) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(file).update(readFileSync(file));
  return hash.digest('hex');
}

function filesIn(/** @type {string} */ folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function readStamps() {
  return existsSync(stamps) ? readJson(stamps) : {};
}

function writeStamps(/** @type {object} */ content) {
  writeFileSync(stamps, JSON.stringify(content));
}

function readJson(/** @type {string} */ file) {
  return JSON.parse(readFileSync(file, 'utf8'));
}

function log(/** @type {string} */ text) {
  console.error(text);
}
