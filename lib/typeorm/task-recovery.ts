import type { Lane } from '../engine/lane.js';
import type { TaskRef } from '../engine/task-event.js';
import type { ExpireRequest, Expiry, RescuedTask, RescueRequest } from '../engine/task-store.js';
import type { ClaimBase } from './claim-base.js';
import type { Run } from './database.js';
import type { Statements } from './statements.js';
import { keepJson, keepValue } from './task-input.js';
import { lanesOfRows, text } from './task-row.js';
import type { TextRow } from './text-query.js';

const rescueLimit = 1_000;
const expireLimit = 1_000;

/** What time does to tasks: their workers die, or nobody starts them before they expire. */
export class TaskRecovery {
  constructor(
    private readonly statements: Pick<Statements, 'rescue' | 'expire'>,
    private readonly run: Run,
    private readonly base: ClaimBase,
    /** Gives the next tasks of lanes their place; must not throw. */
    private readonly admit: (lanes: readonly Lane[]) => Promise<void>,
    /** Told when tasks were given back. */
    private readonly gaveBack: () => void,
  ) {}

  async rescue(request: RescueRequest): Promise<readonly RescuedTask[]> {
    const { leaseMs, maxCrashes, keepFailedMs, keepOthersMs = Infinity, deadLetters = {} } = request;
    const dead = JSON.stringify(deadLetters);
    const rescued: RescuedTask[] = [];
    for (let found = rescueLimit; found === rescueLimit;) {
      const values = [leaseMs, maxCrashes, keepJson(keepFailedMs), rescueLimit, dead, keepValue(keepOthersMs)];
      const rows = await this.base.with(() => this.run(this.statements.rescue, values));
      await this.admit(lanesOfRows(rows.map(([, queue, name, , , , lane]) => [queue, name, lane])));
      // What somebody wanted cancelled ends so, and is no longer anybody's to rescue. No row at all has no id.
      rescued.push(...rows.filter(([id, , , , , end]) => id !== null && end !== 'cancelled').map(rescuedTask));
      found = rows.length;
    }
    if (rescued.length > 0) this.gaveBack();
    return rescued;
  }

  async expire({ keepCancelledMs, keepOthersMs = Infinity }: ExpireRequest): Promise<Expiry> {
    const expired: TaskRef[] = [];
    const values = [keepJson(keepCancelledMs), expireLimit, keepValue(keepOthersMs)];
    for (;;) {
      const rows = await this.run(this.statements.expire, values);
      const ended = rows.filter(([, , id]) => id !== null);
      expired.push(...ended.map(([, , id, queue, name]) => ({ id: text(id), queue: text(queue), name: text(name) })));
      await this.admit(lanesOfRows(ended.map(([, , , ...lane]) => lane)));
      const [nextInMs, forgotten] = rows[0] ?? [];
      if (ended.length === expireLimit || Number(forgotten) === expireLimit) continue;
      return { expired, nextInMs: nextInMs == null ? null : Number(nextInMs) };
    }
  }
}

function rescuedTask([id, queue, name, attempt, crashes, end]: TextRow): RescuedTask {
  return {
    id: text(id),
    queue: text(queue),
    name: text(name),
    attempt: Number(attempt),
    crashes: Number(crashes),
    quarantined: end === 'failed',
  };
}
