import type { Schedule, ScheduleDefinition } from '../engine/schedule.js';
import { type DueSchedules, type ScheduleAsker, type PutOutcome, ScheduleStore } from '../engine/schedule-store.js';
import type { NewTask, Stored } from '../engine/task.js';

/** How long after its end a schedule that comes back goes on where it stood. */
const comebackMs = 60_000;

/** Keeps schedules in this process; each method runs in one go. */
export class MemorySchedules extends ScheduleStore {
  private readonly rows = new Map<string, Schedule>();
  /** Declared ones that are no more, and since when. */
  private readonly ended = new Map<string, { readonly schedule: Schedule; readonly at: number }>();

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
    const there = this.rows.get(schedule.name);
    if (there && there.declared !== schedule.declared) return 'taken';
    if (there && Object.entries(schedule).every(([key, value]) => there[key as keyof Schedule] === value)) {
      return 'unchanged';
    }
    const ended = schedule.declared ? this.ended.get(schedule.name) : undefined;
    this.ended.delete(schedule.name);
    const before = there ?? ended?.schedule;
    const sameTimes = before?.cron === schedule.cron && before.timeZone === schedule.timeZone;
    const goesOn = sameTimes && (!ended || this.clock() - ended.at < comebackMs);
    this.rows.set(schedule.name, {
      paused: false,
      lastAt: null,
      ...before,
      ...schedule,
      revision: (before?.revision ?? 0) + 1,
      nextAt: goesOn ? before.nextAt : nextAt,
    });
    this.changed();
    return 'stored';
  }

  async remove(name: string): Promise<boolean> {
    this.ended.delete(name);
    return this.rows.delete(name);
  }

  async removeDeclared(names: readonly string[]): Promise<void> {
    const at = this.clock();
    const gone = names.map((name) => this.rows.get(name)).filter((schedule) => schedule?.declared);
    for (const schedule of gone) {
      if (!schedule) continue;
      this.rows.delete(schedule.name);
      this.ended.set(schedule.name, { schedule, at });
    }
    if (gone.length > 0) this.changed();
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
    const missing = asker.declared.filter((name) => !this.rows.has(name));
    return { now, due: due.slice(0, limit), nextAt: next, missing };
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
