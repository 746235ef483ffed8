/**
 * The keeper: a small process of its own that starts one PostgreSQL server and stops it when its last user has gone.
 *
 * Every user holds a connection to the keeper, and the operating system closes a dead process's connections however it
 * died. So a `kill -9` needs no signal handler, no list of process ids and no lock to be noticed. Being a process of
 * its own, the keeper outlives the process that started it, and it is the server's parent, so no zombie is left.
 *
 * Protocol, over a Unix socket (a named pipe on Windows): the keeper says one line, `{"port":…,"keeper":<pid>}` once the
 * server takes connections or `{"failed":"<log>"}`; a user says `leave` to go on purpose, and anything else that ends
 * its connection counts as having vanished. The keeper answers `bye`, but to the last user only by exiting.
 *
 * It is plain JavaScript and imports nothing of the package: it is run as a file, also when the package runs from source.
 */
import { execFile, spawn } from 'node:child_process';
import { closeSync, constants, fchownSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { readFile, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * @typedef {object} KeeperOrder
 * @property {string} postgres
 * @property {string} pgCtl
 * @property {string[]} args
 * @property {{ uid: number, gid: number } | undefined} [user]
 * @property {number} port
 * @property {string} pgdata
 * @property {string} log
 * @property {string} claim The file that tells other starters the address; its presence says a keeper may be at work.
 * @property {string} address
 * @property {string | undefined} [temporaryDir] Removed when the server has ended.
 * @property {number} lingerMs
 */

/** No command that ends every "node" ends this process too, since the server would be left without a keeper. */
process.title = 'backie-postgres-keeper';

/** @type {KeeperOrder} */
const order = JSON.parse(process.argv[2] ?? '');
const attemptLog = `${order.claim}.log`;

/** @type {Set<import('node:net').Socket>} */
const users = new Set();
/** @type {string | undefined} */
let greeting;
let ending = false;
let ended = false;
/** @type {NodeJS.Timeout | undefined} */
let lingering;

/** @type {import('node:child_process').ChildProcess} */
let server;
/** @type {Promise<unknown>} */
let serverEnd;

const door = createServer((socket) => {
  users.add(socket);
  clearTimeout(lingering);
  socket.setEncoding('utf8');
  socket.on('data', (text) => String(text).includes('leave') && userLeaves(socket));
  socket.on('error', () => undefined);
  socket.on('close', () => userVanished(socket));
  if (greeting) socket.write(greeting);
});

/** The process that waits for the word may be killed before it is said. */
process.stdout.on('error', () => undefined);
door.once('connection', () => void begin());
door.listen(order.address, () => {
  process.stdout.write('listening\n');
  lingering = setTimeout(closeDoor, 10_000);
});

/**
 * Begins when the starter has connected, and only then makes the claim that leads others here: however soon the server
 * fails, and however slow the starter is, it hears why.
 *
 * The claim comes before the server: whoever sees a server's pid file and finds no live claim afterwards may conclude
 * that its keeper is dead.
 */
async function begin() {
  try {
    writeFileSync(`${order.claim}.draft`, order.address, { mode: 0o600 });
    renameSync(`${order.claim}.draft`, order.claim);
    startServer();
  } catch (error) {
    return finish({ failed: String(error) });
  }
  const ready = await Promise.race([becomesReady(), serverEnd]);
  if (ready !== true) {
    const log = await readFile(attemptLog, 'utf8').catch(() => '');
    return finish({ failed: log.slice(-8_000) || String(ready) });
  }
  await rename(attemptLog, order.log).catch(() => undefined);
  greet({ port: order.port, keeper: process.pid });
  await serverEnd;
  await finish();
}

function startServer() {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_APPEND;
  const log = openSync(attemptLog, flags, 0o600);
  if (order.user) fchownSync(log, order.user.uid, order.user.gid);
  server = spawn(order.postgres, order.args, {
    stdio: ['ignore', log, log],
    windowsHide: true,
    ...(order.user && { uid: order.user.uid, gid: order.user.gid }),
  });
  closeSync(log);
  serverEnd = new Promise((resolve) => {
    server.once('exit', (code, signal) => resolve(`The server ended with ${signal ?? `code ${code}`}.`));
    server.once('error', (error) => resolve(String(error)));
  });
  void serverEnd.then(() => (ended = true));
}

/** PostgreSQL writes its state on line 8 of its pid file, and its port is open by then. */
async function becomesReady() {
  for (;;) {
    if (ended) return serverEnd;
    const lines = (await readFile(join(order.pgdata, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
    if (Number(lines[0]) === server.pid && lines[7]?.startsWith('ready')) return true;
    await delay(10);
  }
}

/** @param {{ port: number, keeper: number } | { failed: string }} news */
function greet(news) {
  greeting = `${JSON.stringify(news)}\n`;
  for (const user of users) user.write(greeting);
}

/** @param {import('node:net').Socket} user */
function userLeaves(user) {
  if (!users.delete(user)) return;
  user.unref();
  if (users.size > 0) user.end('bye\n');
  else void stopServer();
}

/** @param {import('node:net').Socket} user */
function userVanished(user) {
  if (!users.delete(user)) return;
  if (order.temporaryDir === undefined) linger(order.lingerMs);
  else if (users.size === 0) void stopServer();
}

/** @param {number} ms */
function linger(ms) {
  if (users.size === 0 && !ending) lingering = setTimeout(() => void stopServer(), ms);
}

/** Nobody can join from here on. A fast shutdown is asked for first, an immediate one when that takes too long. */
async function stopServer() {
  if (ending) return;
  closeDoor();
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGQUIT', 'SIGKILL'])) {
    signalServer(signal);
    const stop = new AbortController();
    const late = delay(signal === 'SIGINT' ? 10_000 : 5_000, 'late', { signal: stop.signal }).catch(() => 'late');
    const outcome = await Promise.race([serverEnd, late]);
    stop.abort();
    if (outcome !== 'late') return;
  }
}

/** @param {'SIGINT' | 'SIGQUIT' | 'SIGKILL'} signal */
function signalServer(signal) {
  if (process.platform === 'win32' && signal !== 'SIGKILL') {
    execFile(order.pgCtl, ['kill', signal.slice(3), String(server.pid)], () => undefined);
  } else {
    server.kill(signal);
  }
}

function closeDoor() {
  ending = true;
  clearTimeout(lingering);
  door.close();
}

/**
 * A starter whose server failed may try again in its temporary folder and removes it itself; nobody else knows it.
 * The connections are left to the operating system, which closes them when this process has exited: a user that waits
 * for the end of its connection then waits for the end of everything.
 *
 * @param {{ failed: string }} [news]
 */
async function finish(news) {
  if (!ending) closeDoor();
  await Promise.all([order.claim, attemptLog].map((file) => rm(file, { force: true })));
  if (news) greet(news);
  if (order.temporaryDir !== undefined && (!news || users.size === 0)) {
    await rm(order.temporaryDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }
  for (const user of users) user.unref();
}
