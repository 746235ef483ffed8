import type { CatchUp, Schedule, ScheduleDefinition } from '../engine/schedule.js';
import { type DueSchedules, type ScheduleAsker, type PutOutcome, ScheduleStore } from '../engine/schedule-store.js';
import type { NewTask, Stored } from '../engine/task.js';
import type { Run, Statement } from './database.js';
import type { scheduleSql } from './schedule.sql.js';
import { text } from './task-row.js';
import type { TextRow } from './text-query.js';

type ScheduleStatements = Readonly<Record<keyof ReturnType<typeof scheduleSql>, Statement>>;

export type Transaction = <Result>(
  work: (run: Run, enqueue: (tasks: readonly NewTask[]) => Promise<readonly Stored[]>) => Promise<Result>,
) => Promise<Result>;

/** Keeps schedules in PostgreSQL, beside the tasks. */
export class TypeOrmScheduleStore extends ScheduleStore {
  constructor(
    private readonly statements: ScheduleStatements,
    private readonly run: Run,
    /** Runs in one transaction, and can store tasks in it. */
    private readonly transaction: Transaction,
  ) {
    super();
  }

  async now(): Promise<number> {
    const [row] = await this.run(this.statements.scheduleNow, []);
    return Number(row?.[0]);
  }

  async put(schedule: ScheduleDefinition, nextAt: number | null): Promise<PutOutcome> {
    const { name, task, queue, cron, timeZone, catchUp, payload, priority, maxRetries, timeoutMs, declared } = schedule;
    const values = [name, task, queue, cron, timeZone, catchUp, payload, priority, maxRetries, timeoutMs, declared];
    const rows = await this.run(this.statements.schedulePut, [...values, nextAt]);
    if (rows.length > 0) return 'stored';
    const there = await this.find(name);
    return there && there.declared !== declared ? 'taken' : 'unchanged';
  }

  async remove(name: string): Promise<boolean> {
    const [row] = await this.run(this.statements.scheduleRemove, [name]);
    return row?.[0] === 't';
  }

  async removeDeclared(names: readonly string[]): Promise<void> {
    await this.run(this.statements.scheduleRemoveDeclared, [names]);
  }

  async list(): Promise<readonly Schedule[]> {
    return (await this.run(this.statements.scheduleList, [])).map(scheduleOf);
  }

  async find(name: string): Promise<Schedule | null> {
    const [row] = await this.run(this.statements.scheduleFind, [name]);
    return row ? scheduleOf(row) : null;
  }

  async pause(name: string): Promise<boolean> {
    return (await this.run(this.statements.schedulePause, [name])).length > 0;
  }

  async resume(name: string, nextAt: number | null): Promise<boolean> {
    return (await this.run(this.statements.scheduleResume, [name, nextAt])).length > 0;
  }

  async due({ declared, tasks }: ScheduleAsker, limit: number): Promise<DueSchedules> {
    const rows = await this.run(this.statements.scheduleDue, [declared, tasks, limit]);
    const [now, nextAt, missing] = rows[0] ?? [];
    const due = rows.filter((row) => row[3] !== null).map((row) => scheduleOf(row.slice(3)));
    return {
      now: Number(now),
      due: due.filter(isDue),
      nextAt: nextAt == null ? null : Number(nextAt),
      missing: missing == null ? [] : (JSON.parse(missing) as string[]),
    };
  }

  tick(
    { name, revision, nextAt }: Schedule & { readonly nextAt: number },
    to: { readonly nextAt: number | null; readonly lastAt: number | null },
    tasks: readonly NewTask[],
  ): Promise<readonly Stored[] | null> {
    return this.transaction(async (run, enqueue) => {
      const moved = await run(this.statements.scheduleTick, [name, revision, nextAt, to.nextAt, to.lastAt]);
      return moved.length === 0 ? null : enqueue(tasks);
    });
  }
}

function isDue(schedule: Schedule): schedule is Schedule & { readonly nextAt: number } {
  return schedule.nextAt !== null;
}

function scheduleOf(row: TextRow): Schedule {
  const number = (value: string | null | undefined) => (value == null ? null : Number(value));
  return {
    name: text(row[0]),
    task: text(row[1]),
    queue: text(row[2]),
    cron: text(row[3]),
    timeZone: text(row[4]),
    catchUp: text(row[5]) as CatchUp,
    payload: text(row[6]),
    priority: Number(row[7]),
    maxRetries: number(row[8]),
    timeoutMs: number(row[9]),
    declared: row[10] === 't',
    revision: Number(row[11]),
    paused: row[12] === 't',
    nextAt: number(row[13]),
    lastAt: number(row[14]),
  };
}
