import { BulkStore, type PickedTask, type PickRequest } from '../engine/bulk-store.js';
import type { Lane } from '../engine/lane.js';
import type { CancelOutcome } from '../engine/task-store.js';
import type { bulkSql } from './bulk.sql.js';
import type { Run, Statement } from './database.js';
import { keepValue } from './task-input.js';
import { lanesOfRows, text } from './task-row.js';

type BulkStatements = Readonly<Record<keyof ReturnType<typeof bulkSql>, Statement>>;

/** Changes many tasks in PostgreSQL, a batch a statement. */
export class TypeOrmBulkStore extends BulkStore {
  constructor(
    private readonly statements: BulkStatements,
    private readonly run: Run,
    /** Gives the next tasks of lanes their place; must not throw. */
    private readonly admit: (lanes: readonly Lane[]) => Promise<void>,
  ) {
    super();
  }

  async pick({ filter, among, limit, after }: PickRequest): Promise<readonly PickedTask[]> {
    const { queue = null, name = null, states = null, uniqueKey = null, before, dead = null, deadFrom = null } = filter;
    const values = [limit, after, queue, name, states, uniqueKey, before];
    const { pickLive, pickFinished, pickDead } = this.statements;
    const rows =
      among === 'live'
        ? await this.run(pickLive, values)
        : dead === true && queue !== null
          ? await this.run(pickDead, [...values, deadFrom])
          : await this.run(pickFinished, [...values, dead, deadFrom]);
    return rows.map((row) => ({ id: text(row[0]), queue: text(row[1]), name: text(row[2]) }));
  }

  async cancel(
    tasks: readonly PickedTask[],
    keepMs: (queue: string) => number | null,
  ): Promise<ReadonlyMap<string, Exclude<CancelOutcome, 'notLive'>>> {
    const kept = tasks.map(({ queue }) => String(keepValue(keepMs(queue))));
    const rows = await this.run(this.statements.cancelMany, [...keysOf(tasks), kept]);
    await this.admit(lanesOfRows(rows.map(([, , ...keyed]) => keyed)));
    return new Map(rows.map(([id, outcome]) => [text(id), outcome === 'cancelled' ? 'cancelled' : 'requested']));
  }

  async retry(tasks: readonly PickedTask[]): Promise<readonly string[]> {
    const rows = await this.run(this.statements.retryMany, keysOf(tasks));
    await this.admit(lanesOfRows(rows.map(([, ...keyed]) => keyed)));
    return rows.map(([id]) => text(id));
  }

  async remove(tasks: readonly PickedTask[]): Promise<readonly string[]> {
    const live = await this.run(this.statements.removeLive, keysOf(tasks));
    await this.admit(lanesOfRows(live.map(([, ...keyed]) => keyed)));
    const past = await this.run(this.statements.removeFinished, keysOf(tasks));
    return [...live, ...past].map(([id]) => text(id));
  }
}

function keysOf(tasks: readonly PickedTask[]): [ids: string[], queues: string[]] {
  return [tasks.map(({ id }) => id), tasks.map(({ queue }) => queue)];
}
