import type { Lane } from '../engine/lane.js';
import type { CancelOutcome } from '../engine/task-store.js';
import { UniqueKeyTakenError } from '../errors/store.errors.js';
import type { Run } from './database.js';
import { isUniqueViolation } from './postgres-errors.js';
import type { Statements } from './statements.js';
import { keepValue } from './task-input.js';
import { isUuid, lanesOfRows, text } from './task-row.js';

type ChangerStatements = Pick<Statements, 'queueOf' | 'cancel' | 'retry' | 'keyHolder' | 'remove'>;

/** Does to one task what somebody asks for. To many of them: TypeOrmBulkStore. */
export class TaskChanger {
  constructor(
    private readonly statements: ChangerStatements,
    private readonly run: Run,
    /** Gives the next tasks of lanes their place; must not throw. */
    private readonly admit: (lanes: readonly Lane[]) => Promise<void>,
  ) {}

  async cancel(id: string, keepMs: (queue: string) => number | null): Promise<CancelOutcome> {
    if (!isUuid(id)) return 'notLive';
    const [found] = await this.run(this.statements.queueOf, [id]);
    if (!found) return 'notLive';
    const queue = text(found[0]);
    const [row = []] = await this.run(this.statements.cancel, [id, queue, keepValue(keepMs(queue))]);
    const [ended, asked, ...keyed] = row;
    if (Number(ended) > 0) {
      await this.admit(lanesOfRows([[queue, ...keyed]]));
      return 'cancelled';
    }
    return Number(asked) > 0 ? 'requested' : 'notLive';
  }

  async retry(id: string): Promise<boolean> {
    if (!isUuid(id)) return false;
    try {
      const [row = []] = await this.run(this.statements.retry, [id]);
      await this.admit(lanesOfRows([row.slice(2)]));
      return Number(row[0]) > 0;
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      const [holder] = await this.run(this.statements.keyHolder, [id]);
      throw new UniqueKeyTakenError(id, holder ? text(holder[0]) : 'that has just finished');
    }
  }

  async remove(id: string): Promise<boolean> {
    if (!isUuid(id)) return false;
    const [row = []] = await this.run(this.statements.remove, [id]);
    await this.admit(lanesOfRows([row.slice(1)]));
    return Number(row[0]) > 0;
  }
}
