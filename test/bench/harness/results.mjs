import { summary } from './statistics.mjs';

/** The measurements, by row and queue. */
export class Results {
  /** @param {import('./bench.mjs').Measurement[]} measurements */
  constructor(measurements) {
    this.measurements = measurements;
  }

  /** @returns {ReturnType<typeof summary> | undefined} */
  cell(/** @type {string} */ row, /** @type {string} */ adapter) {
    const values = this.measurements
      .filter((measurement) => measurement.adapter === adapter && measurement.values && row in measurement.values)
      .flatMap((measurement) => /** @type {Record<string, number | number[]>} */ (measurement.values)[row]);
    return values.length > 0 ? summary(values) : undefined;
  }

  median(/** @type {string} */ row, /** @type {string} */ adapter) {
    return this.cell(row, adapter)?.median;
  }

  /** The medians of what the measurements of a row, or of a case that measures once, cost a task. */
  cost(/** @type {string} */ id, /** @type {string} */ adapter) {
    const costs = this.measurements
      .filter((measurement) => measurement.adapter === adapter && measurement.costs)
      .flatMap((measurement) =>
        measurement.costs.filter(({ row = measurement.costs.length === 1 && measurement.case }) => row === id),
      );
    if (costs.length === 0) return undefined;
    const perTask = (/** @type {string} */ key) => {
      const values = costs.filter((cost) => cost[key] !== undefined).map((cost) => cost[key] / cost.tasks);
      return values.length > 0 ? summary(values).median : undefined;
    };
    return {
      nodeCpuMs: perTask('nodeCpuMs'),
      serverCpuMs: perTask('serverCpuMs'),
      walBytes: perTask('walBytes'),
      transactions: perTask('transactions'),
      foreignCpu: Math.max(0, ...costs.map((cost) => cost.foreignCpu ?? 0)),
    };
  }

  /** How much of the machine others used while this row was measured, at worst. */
  foreignCpu(/** @type {string} */ row, /** @type {string} */ adapter) {
    const costs = this.measurements
      .filter((measurement) => measurement.adapter === adapter && measurement.values && row in measurement.values)
      .flatMap((measurement) => measurement.costs ?? []);
    return Math.max(0, ...costs.map((cost) => cost.foreignCpu ?? 0));
  }
}
