import { setTimeout as delay } from 'node:timers/promises';
import { availableParallelism } from 'node:os';
import { variants } from '../adapters/index.mjs';
import { quickWorkloads, workloads } from '../workloads/index.mjs';
import { disturbing } from './meter.mjs';
import { machineBusyMs } from './processes.mjs';
import { summary } from './statistics.mjs';
import { IntegrityError, Session } from './session.mjs';
import { topStatements } from './top-statements.mjs';

/**
 * @typedef {object} Measurement
 * @property {string} workload
 * @property {string} case
 * @property {string} adapter
 * @property {number} repetition
 * @property {Record<string, number | number[]>} [values] By row; several when it repeats itself.
 * @property {import('./meter.mjs').Cost[]} [costs]
 * @property {object[]} [statements]
 * @property {Pick<Measurement, 'values' | 'costs'>[]} [disturbed] What it came to when others disturbed it more.
 * @property {string} [error]
 * @property {boolean} [integrity] Whether the error is a lost or a doubled task.
 */

/** What others disturb is made so often at most, unless it is measured once for all repetitions. */
const mostTries = 3;

/** Runs the chosen workloads: repetitions outside, queues inside, so that a slow minute of the machine hits them all. */
export class Bench {
  /** @type {Measurement[]} */
  measurements = [];

  /**
   * @param {import('./options.mjs').Options} options
   * @param {{ node: string, postgres: any, redis: any }} place
   */
  constructor(options, { node, postgres, redis }) {
    this.options = options;
    this.node = node;
    this.postgres = postgres;
    this.redis = redis;
  }

  #interrupted = false;

  /** Ends after the measurement that is under way; the report holds what there is. */
  interrupt() {
    this.#interrupted = true;
  }

  async run() {
    for (const { workload, testCase, adapters } of chosen(this.options, Boolean(this.redis))) {
      const repetitions = workload.once ? 1 : this.options.reps * (workload.times ?? 1);
      for (let repetition = 0; repetition < repetitions; repetition++) {
        // Each repetition begins with another queue, so that none is always the first or the last.
        const turn = repetition % Math.max(adapters.length, 1);
        for (const adapter of [...adapters.slice(turn), ...adapters.slice(0, turn)]) {
          if (this.#interrupted) return;
          this.measurements.push(await this.#calmest(workload, testCase, adapter, { repetition, repetitions }));
        }
      }
    }
  }

  /** Of several tries the one that others disturbed least; but a failure counts whenever it comes. */
  async #calmest(workload, testCase, adapter, place) {
    const most = workload.once ? 1 : mostTries;
    const others = [];
    let calmest;
    for (let tries = 1; ; tries++) {
      await this.#quiet();
      const measurement = await this.#measure(workload, testCase, adapter, place);
      if (measurement.error) return measurement;
      const foreign = foreignCpu(measurement);
      // One of which nothing is known is no calmer than one that was disturbed.
      if (!calmest || (foreign ?? Infinity) < foreignCpu(calmest)) {
        if (calmest) others.push(calmest);
        calmest = measurement;
      } else others.push(measurement);
      if ((foreign ?? 0) <= disturbing || tries === most || this.#interrupted) {
        return others.length > 0
          ? { ...calmest, disturbed: others.map(({ values, costs }) => ({ values, costs })) }
          : calmest;
      }
    }
  }

  async #measure(workload, testCase, adapter, { repetition, repetitions }) {
    const begun = Date.now();
    const session = new Session(this, adapter);
    const label = `${testCase.id} ${adapter} ${repetition + 1}/${repetitions}`;
    /** @type {Measurement} */
    const measurement = { workload: workload.id, case: testCase.id, adapter, repetition };
    try {
      await session.begin();
      measurement.values = await workload.measure(session, testCase);
      measurement.costs = session.costs.map(({ cost }) => cost);
      if (this.options.statements) measurement.statements = await topStatements(session);
      console.error(`${label}: ${describe(measurement)} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
    } catch (error) {
      measurement.error = error instanceof Error ? error.message : String(error);
      measurement.integrity = error instanceof IntegrityError;
      console.error(`${label}: FAILED: ${measurement.error}`);
    } finally {
      await session.end();
    }
    return measurement;
  }

  /** Waits until nobody else keeps the machine busy, as long as the options allow. */
  async #quiet() {
    const until = Date.now() + this.options.quietWaitMs;
    while (Date.now() < until && !this.#interrupted) {
      const before = machineBusyMs();
      await delay(1_000);
      const after = machineBusyMs();
      if (before === undefined || after === undefined) return;
      if ((after - before) / 1_000 / availableParallelism() < disturbing) return;
    }
  }
}

/**
 * What the options ask for.
 *
 * @param {import('./options.mjs').Options} options
 * @param {boolean} hasRedis
 */
export function chosen(options, hasRedis) {
  const wanted = options.only ?? (options.quick ? quickWorkloads : undefined);
  const plan = [];
  for (const workload of workloads) {
    for (const testCase of workload.cases(options)) {
      if (wanted && !wanted.includes(workload.id) && !wanted.includes(testCase.id)) continue;
      // Whatever nestjs-backie does, its other checkout does too.
      const others = workload.adapters.filter((name) => name !== 'backie-beside');
      const backie = options.beside ? others.indexOf('backie') : -1;
      const all = backie < 0 ? others : others.toSpliced(backie + 1, 0, 'backie-beside');
      const adapters = all.filter(
        (name) =>
          (options.adapters?.some((prefix) => name === prefix || name.startsWith(`${prefix}-`)) ?? true) &&
          (hasRedis || variants[name].server !== 'redis') &&
          !testCase.without?.includes(name),
      );
      plan.push({ workload, testCase, adapters });
    }
  }
  return plan;
}

/** The part of the machine that others used meanwhile, as far as that is known. */
function foreignCpu({ costs }) {
  const known = costs.map((cost) => cost.foreignCpu).filter((part) => part !== undefined);
  return known.length > 0 ? Math.max(...known) : undefined;
}

function describe(measurement) {
  const medians = Object.values(measurement.values).map((value) => summary([value].flat()).median);
  const numbers = medians.map((value) => Number(value.toPrecision(4)).toLocaleString('en'));
  const foreign = foreignCpu(measurement);
  return (
    numbers.join(', ') +
    ((foreign ?? 0) > disturbing ? `, ${Math.round(foreign * 100)} % of the machine used by others` : '')
  );
}
