import { cursorAfter, readPage } from '../engine/page-cursor.js';
import type { PageRequest, TaskCounts, TaskFilter, TaskOutcome, TaskPage } from '../engine/task-store.js';
import type { Task } from '../engine/task.js';
import type { Run, Statement } from './database.js';
import { Permits } from './permits.js';
import type { Statements } from './statements.js';
import { isUuid, shownTask, taskOutcome, text } from './task-row.js';
import type { TextRow } from './text-query.js';

type ReaderStatements = Pick<Statements, 'find' | 'listNewestFirst' | 'listOldestFirst' | 'counts' | 'outcomes'>;

/** What people look at may take long, and must leave connections to the workers. */
const connectionsForLooks = 1;

/** Shows tasks as they are. */
export class TaskReader {
  private readonly looks = new Permits(connectionsForLooks);

  constructor(
    private readonly statements: ReaderStatements,
    private readonly run: Run,
  ) {}

  async find(id: string): Promise<Task | null> {
    if (!isUuid(id)) return null;
    const [row] = await this.look(this.statements.find, [id]);
    return row ? shownTask(row) : null;
  }

  async list(filter: TaskFilter, page: PageRequest): Promise<TaskPage> {
    const { limit, after, oldestFirst } = readPage(page);
    const { listOldestFirst, listNewestFirst } = this.statements;
    const states = filter.state === undefined ? null : [filter.state].flat();
    const rows = await this.look(oldestFirst ? listOldestFirst : listNewestFirst, [
      limit + 1,
      after,
      filter.queue ?? null,
      filter.name ?? null,
      states,
      filter.uniqueKey ?? null,
    ]);
    const tasks = rows.slice(0, limit).map(shownTask);
    const last = rows.length > limit ? tasks.at(-1) : undefined;
    return { tasks, next: last ? cursorAfter(last.id) : null };
  }

  async counts(queue?: string): Promise<TaskCounts> {
    const counts = { ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 };
    for (const [state, count] of await this.look(this.statements.counts, [queue ?? null])) {
      counts[state as keyof typeof counts] = Number(count);
    }
    return counts;
  }

  /** Asked by the engine, for those who await the end of tasks: it takes its turn with nobody. */
  async outcomes(ids: readonly string[]): Promise<ReadonlyMap<string, TaskOutcome>> {
    const known = ids.filter(isUuid);
    if (known.length === 0) return new Map();
    const rows = await this.run(this.statements.outcomes, [known]);
    return new Map(rows.map((row) => [text(row[0]), taskOutcome(row)]));
  }

  private look(statement: Statement, values: readonly unknown[]): Promise<readonly TextRow[]> {
    return this.looks.with(() => this.run(statement, values));
  }
}
