import type { Schedule, ScheduleDefinition } from '../engine/schedule.js';
import { type DueSchedules, type ScheduleAsker, type PutOutcome, ScheduleStore } from '../engine/schedule-store.js';
import type { NewTask, Stored } from '../engine/task.js';

/** Keeps schedules in this process; each method runs in one go. */
export class MemorySchedules extends ScheduleStore {
  private readonly rows = new Map<string, Schedule>();

  constructor(
    private readonly clock: () => number,
    private readonly enqueue: (tasks: readonly NewTask[]) => readonly Stored[],
    private readonly changed: () => void,
  ) {
    super();
  }

  async now(): Promise<number> {
    return this.clock();
  }

  async put(schedule: ScheduleDefinition, nextAt: number | null): Promise<PutOutcome> {
    const before = this.rows.get(schedule.name);
    if (before && before.declared !== schedule.declared) return 'taken';
    if (before && Object.entries(schedule).every(([key, value]) => before[key as keyof Schedule] === value)) {
      return 'unchanged';
    }
    const sameTimes = before?.cron === schedule.cron && before.timeZone === schedule.timeZone;
    this.rows.set(schedule.name, {
      paused: false,
      lastAt: null,
      ...before,
      ...schedule,
      revision: (before?.revision ?? 0) + 1,
      nextAt: sameTimes ? before.nextAt : nextAt,
    });
    this.changed();
    return 'stored';
  }

  async remove(name: string): Promise<boolean> {
    return this.rows.delete(name);
  }

  async removeDeclared(names: readonly string[]): Promise<void> {
    for (const name of names) if (this.rows.get(name)?.declared) this.rows.delete(name);
  }

  async list(): Promise<readonly Schedule[]> {
    return [...this.rows.values()].toSorted((one, other) => (one.name < other.name ? -1 : 1));
  }

  async find(name: string): Promise<Schedule | null> {
    return this.rows.get(name) ?? null;
  }

  async pause(name: string): Promise<boolean> {
    return this.change(name, () => ({ paused: true }));
  }

  async resume(name: string, nextAt: number | null): Promise<boolean> {
    const found = this.change(name, (before) => ({ paused: false, nextAt: before.paused ? nextAt : before.nextAt }));
    if (found) this.changed();
    return found;
  }

  async due(asker: ScheduleAsker, limit: number): Promise<DueSchedules> {
    const now = this.clock();
    const due: (Schedule & { readonly nextAt: number })[] = [];
    let next: number | null = null;
    const [declared, tasks] = [new Set(asker.declared), new Set(asker.tasks)];
    for (const schedule of this.rows.values()) {
      const { name, nextAt, paused } = schedule;
      const ours = schedule.declared ? declared.has(name) : tasks.has(schedule.task);
      if (paused || nextAt === null || !ours) continue;
      if (nextAt <= now) due.push({ ...schedule, nextAt });
      else next = Math.min(next ?? Infinity, nextAt);
    }
    due.sort((one, other) => one.nextAt - other.nextAt || (one.name < other.name ? -1 : 1));
    return { now, due: due.slice(0, limit), nextAt: next };
  }

  async tick(
    { name, revision, nextAt }: Schedule & { readonly nextAt: number },
    to: { readonly nextAt: number | null; readonly lastAt: number | null },
    tasks: readonly NewTask[],
  ): Promise<readonly Stored[] | null> {
    const there = this.rows.get(name);
    if (!there || there.paused || there.revision !== revision || there.nextAt !== nextAt) return null;
    // First, since it may throw.
    const stored = this.enqueue(tasks);
    this.rows.set(name, { ...there, ...to });
    return stored;
  }

  private change(name: string, changes: (before: Schedule) => Partial<Schedule>): boolean {
    const before = this.rows.get(name);
    if (!before) return false;
    this.rows.set(name, { ...before, ...changes(before) });
    return true;
  }
}
