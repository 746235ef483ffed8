import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('./agent.mjs', import.meta.url));

let agents = 0;

/** The runner's end of an agent: each command is a call. */
export class AgentProcess {
  #calls = new Map();
  #nextId = 0;
  #ended;

  /**
   * @param {{ node: string, adapter: string, url: string, exposeGc?: boolean, cpuProf?: string }} options
   */
  constructor({ node, adapter, url, exposeGc, cpuProf }) {
    this.adapter = adapter;
    const { DATABASE_URL: _url, NODE_OPTIONS: _options, ...env } = process.env;
    this.child = fork(script, [adapter, url], {
      execPath: node,
      execArgv: [
        ...(exposeGc ? ['--expose-gc'] : []),
        ...(cpuProf
          ? ['--cpu-prof', `--cpu-prof-dir=${cpuProf}`, `--cpu-prof-name=${adapter}-${++agents}.cpuprofile`]
          : []),
      ],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: { ...env, NODE_ENV: 'production' },
    });
    this.child.on('message', ({ id, result, error }) => {
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      if (error) call?.reject(new Error(`${adapter}: ${call.command}: ${error}`));
      else call?.resolve(result);
    });
    this.#ended = new Promise((resolve) => {
      this.child.once('exit', (code, signal) => {
        for (const { command, reject } of this.#calls.values()) {
          reject(new Error(`${adapter}: the process ended (${signal ?? code}) during ${command}`));
        }
        this.#calls.clear();
        resolve();
      });
    });
  }

  /**
   * @param {string} command
   * @param {object} [options]
   * @returns {Promise<any>}
   */
  call(command, options) {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { command, resolve, reject });
      this.child.send({ id, command, options }, (error) => error && reject(error));
    });
  }

  /** Ends the process: it exits when it is disconnected, else it is killed. */
  async end() {
    if (this.child.connected) this.child.disconnect();
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    await this.#ended;
    clearTimeout(timer);
  }
}
