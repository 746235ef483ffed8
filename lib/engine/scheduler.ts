import { type Calendar, type Schedule, type ScheduleDefinition, ticksDue } from './schedule.js';
import type { PutOutcome, ScheduleAsker, ScheduleStore } from './schedule-store.js';
import type { NewTask } from './task.js';
import type { EngineReporter } from './task-event.js';
import { WakeSignal } from './wake-signal.js';

/** What schedules need of the application around the engine. */
export interface Scheduling {
  readonly calendar: Calendar;
  /** The schedules that classes declare here, and the tasks here that declare none. */
  declared(): { readonly schedules: readonly ScheduleDefinition[]; readonly unscheduled: readonly string[] };
  /** The task that a tick enqueues; null when it cannot be made, which has been reported. */
  taskOf(schedule: Schedule, tick: number): Promise<NewTask | null>;
}

/** How often somebody looks whose hints do not arrive. */
const longestSleepMs = 10_000;
const lookLimit = 100;
const errorPauseMs = 1_000;

/**
 * Enqueues a task for each tick of each schedule, in every process and without a leader: whoever moves a schedule on
 * first stores its task in the same transaction, and the others find it moved. A process sleeps until the next tick.
 */
export class Scheduler {
  private readonly signal = new WakeSignal();
  private stopping = true;
  private loop: Promise<void> | undefined;
  private asker: ScheduleAsker = { declared: [], tasks: [] };
  private schedules: readonly ScheduleDefinition[] = [];

  constructor(
    private readonly store: ScheduleStore,
    private readonly scheduling: Scheduling,
    private readonly reporter: EngineReporter,
    private readonly failed: (doing: string, error: unknown) => void,
    /** Tasks of this queue are due. */
    private readonly enqueued: (queue: string) => void,
  ) {}

  /** Brings the declared schedules up to date, then ticks. Resolves when they stand, or the first try has failed. */
  async start(): Promise<void> {
    this.stopping = false;
    // One that was told to stop, but still waits for the store, goes on.
    if (this.loop) return;
    const { schedules, unscheduled } = this.scheduling.declared();
    const declared = schedules.map(({ name }) => name);
    this.schedules = schedules;
    this.asker = { declared, tasks: [...declared, ...unscheduled] };
    const declaring = this.declare(schedules, unscheduled);
    this.loop = this.work(declaring, () => this.declare(schedules, unscheduled)).finally(() => {
      this.loop = undefined;
    });
    await declaring.catch(() => {});
  }

  async stop(): Promise<void> {
    this.stopping = true;
    this.signal.wake();
    await this.loop;
  }

  /** A schedule was made, changed or resumed. */
  wake(): void {
    this.signal.wake();
  }

  /** Looks once. @returns In how many milliseconds to look again. */
  async look(): Promise<number> {
    const { now, due, nextAt, missing } = await this.store.due(this.asker, lookLimit);
    let failures = 0;
    for (const schedule of this.schedules) {
      if (!missing.includes(schedule.name)) continue;
      if (this.stopping) return 0;
      try {
        await this.putBack(schedule, now);
      } catch (error) {
        failures++;
        this.failed(`put schedule "${schedule.name}" back`, error);
      }
    }
    for (const schedule of due) {
      if (this.stopping) return 0;
      try {
        await this.fire(schedule, now);
      } catch (error) {
        // One that cannot tick must not keep the others from it.
        failures++;
        this.failed(`run schedule "${schedule.name}"`, error);
      }
    }
    if (failures > 0) return errorPauseMs;
    // They have moved on, and one of them may be the next to tick.
    if (due.length > 0 || missing.length > 0) return 0;
    return Math.min(longestSleepMs, nextAt === null ? Infinity : Math.max(0, nextAt - now));
  }

  private async work(declaring: Promise<void>, declare: () => Promise<void>): Promise<void> {
    await this.retrying('store the declared schedules', declaring, declare);
    while (!this.stopping) {
      let restMs = errorPauseMs;
      try {
        restMs = await this.look();
      } catch (error) {
        this.failed('look for due schedules', error);
      }
      // A little late rather than early: whether a tick is due is for the store's clock to say.
      if (!this.stopping && restMs > 0) await this.signal.sleep(restMs + 2 + Math.random() * 5);
    }
  }

  private async declare(schedules: readonly ScheduleDefinition[], unscheduled: readonly string[]): Promise<void> {
    if (unscheduled.length > 0) await this.store.removeDeclared(unscheduled);
    if (schedules.length === 0) return;
    const now = await this.store.now();
    for (const schedule of schedules) {
      const outcome = await this.put(schedule, now);
      if (outcome === 'taken') {
        this.reporter.log(
          'error',
          `The schedule that task "${schedule.name}" declares does not tick: one of that name was made at run time. ` +
            `Remove that by TaskQueue.unschedule().`,
        );
      }
    }
  }

  /**
   * During a roll-out a process may start whose class of that task has no `cron`, and take away what others rely on. Which
   * of them is the newer nobody can tell, so a schedule lives as long as one that declares it runs.
   */
  private async putBack(schedule: ScheduleDefinition, now: number): Promise<void> {
    if ((await this.put(schedule, now)) !== 'stored') return;
    this.reporter.log(
      'warn',
      `Schedule "${schedule.name}" had been removed and was put back, since a class of this process declares it. Either ` +
        `a process started whose class of that task has no cron, or somebody unscheduled it.`,
    );
  }

  private put(schedule: ScheduleDefinition, now: number): Promise<PutOutcome> {
    return this.store.put(schedule, this.scheduling.calendar.next(schedule, now));
  }

  private async fire(schedule: Schedule & { readonly nextAt: number }, now: number): Promise<void> {
    const ticks = ticksDue(schedule, now, this.scheduling.calendar);
    const made = await Promise.all(ticks.map((tick) => this.scheduling.taskOf(schedule, tick)));
    const tasks = made.filter((task) => task !== null);
    const nextAt = this.scheduling.calendar.next(schedule, now);
    const lastAt = ticks.at(-1) ?? schedule.lastAt;
    const stored = await this.store.tick(schedule, { nextAt, lastAt }, tasks);
    if (!stored) return;
    for (const [place, { id: own, name, queue }] of tasks.entries()) {
      const { id, duplicate, replaced } = stored[place] ?? { id: own, duplicate: false };
      this.reporter.event('enqueued', { id, name, queue, duplicate, ...(replaced && { replaced }) });
    }
    if (tasks.length > 0) this.enqueued(schedule.queue);
  }

  private async retrying(doing: string, first: Promise<void>, again: () => Promise<void>): Promise<void> {
    for (let step = first; ; step = again()) {
      try {
        return await step;
      } catch (error) {
        this.failed(doing, error);
        if (!this.stopping) await this.signal.sleep(errorPauseMs);
        if (this.stopping) return;
      }
    }
  }
}
