import { availableParallelism } from 'node:os';
import { cpuMsOf, machineBusyMs } from './processes.mjs';
import { now } from './ledger.mjs';

/** A measurement is disturbed when others used more than this part of the machine. */
export const disturbing = 0.1;

/**
 * @typedef {object} Cost
 * @property {number} tasks
 * @property {number} ms
 * @property {number} nodeCpuMs
 * @property {number} [serverCpuMs]
 * @property {number} [walBytes]
 * @property {number} [transactions] Of PostgreSQL, or commands of Redis.
 * @property {number} [foreignCpu] The part of the machine that neither we nor the server used, 0 to 1, where both are known.
 */

/**
 * What a measurement costs: CPU of the Node processes and of the server, write-ahead log, transactions. And what others
 * took meanwhile: a measurement during which somebody else used the machine is marked in the report.
 */
export class Meter {
  /**
   * @param {import('./session.mjs').Session} session
   * @param {import('./agent-process.mjs').AgentProcess[]} agents
   */
  constructor(session, agents) {
    this.session = session;
    this.agents = agents;
  }

  async start() {
    this.before = await this.#read();
  }

  /**
   * @param {number} tasks How many tasks it was for.
   * @returns {Promise<Cost>}
   */
  async stop(tasks, row) {
    const after = await this.#read();
    const since = (/** @type {string} */ key) =>
      after[key] === undefined || this.before[key] === undefined ? undefined : after[key] - this.before[key];
    const ms = since('at');
    const nodeCpuMs = since('nodeCpuMs');
    const serverCpuMs = since('serverCpuMs');
    const busyMs = since('machineMs');
    const ownMs = nodeCpuMs + serverCpuMs + since('runnerCpuMs');
    // The kernel counts in 10 ms, so less than this says nothing about others.
    const unknown = busyMs === undefined || serverCpuMs === undefined || ms < 500;
    const cost = {
      ...(row !== undefined && { row }),
      tasks,
      ms,
      nodeCpuMs,
      serverCpuMs,
      walBytes: since('walBytes'),
      foreignCpu: unknown ? undefined : Math.max(0, busyMs - ownMs) / (ms * availableParallelism()),
      // PostgreSQL's count is complete only later: the session adds it.
      transactions: this.session.onPostgres ? undefined : since('transactions'),
    };
    this.session.costs.push({ cost, transactionsBefore: this.before.transactions });
    return cost;
  }

  async #read() {
    const usages = await Promise.all(this.agents.map((agent) => agent.call('usage')));
    const { user, system } = process.cpuUsage();
    return {
      nodeCpuMs: usages.reduce((sum, { cpuMs }) => sum + cpuMs, 0),
      runnerCpuMs: (user + system) / 1000,
      serverCpuMs: cpuMsOf(this.session.serverPid),
      machineMs: machineBusyMs(),
      walBytes: await this.session.walBytes(),
      transactions: await this.session.transactions(),
      at: now(),
    };
  }
}
