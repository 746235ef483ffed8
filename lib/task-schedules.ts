import type { CronCalendar } from './cron-calendar.js';
import type { Schedule, ScheduleDefinition } from './engine/schedule.js';
import type { PutOutcome } from './engine/schedule-store.js';
import type { Scheduling } from './engine/scheduler.js';
import type { NewTask } from './engine/task.js';
import type { EngineReporter } from './engine/task-event.js';
import type { TaskStore } from './engine/task-store.js';
import { isInstance } from './engine/is-instance.js';
import { encodeSchedulePayload } from './engine/payload.js';
import { BackieError } from './errors/backie.error.js';
import { ScheduleDeclaredError, UnknownScheduleError } from './errors/schedule.errors.js';
import type { BackgroundTaskOptions } from './interfaces/background-task-options.interface.js';
import type { ScheduleInfo, ScheduleOptions } from './interfaces/schedule-options.interface.js';
import { checkScheduleOptions } from './options/check-task-options.js';
import { checkName, maxNameLength } from './options/checks.js';
import type { ResolvedOptions } from './options/resolve-options.js';
import { prepareTasks, type TaskTarget, validPayloads } from './task-preparation.js';
import type { TaskRegistry } from './task.registry.js';

/** Makes schedules and the tasks of their ticks: what TaskQueue and the engine's scheduler know of cron. */
export class TaskSchedules implements Scheduling {
  constructor(
    private readonly store: TaskStore,
    private readonly registry: TaskRegistry,
    readonly calendar: CronCalendar,
    private readonly options: ResolvedOptions,
    private readonly reporter: EngineReporter,
  ) {}

  declared(): ReturnType<Scheduling['declared']> {
    const schedules: ScheduleDefinition[] = [];
    const unscheduled: string[] = [];
    for (const [name, { declared }] of this.registry.check()) {
      const { cron, timeZone, catchUp, payload } = declared;
      if (cron === undefined) unscheduled.push(name);
      else schedules.push(this.define(name, this.targetOf(name, declared), { cron, timeZone, catchUp, payload }, true));
    }
    return { schedules, unscheduled };
  }

  async taskOf(schedule: Schedule, tick: number): Promise<NewTask | null> {
    try {
      return await this.prepare(schedule, tick);
    } catch (error) {
      if (!isInstance(error, BackieError)) throw error;
      this.reporter.log('error', `Schedule "${schedule.name}" enqueued no task for a tick: ${error.message}`);
      return null;
    }
  }

  async schedule(name: string, target: TaskTarget, options: ScheduleOptions): Promise<PutOutcome> {
    checkName('The name of the schedule', name, maxNameLength);
    const where = `TaskQueue.schedule(${JSON.stringify(name)})`;
    checkScheduleOptions(where, options);
    const definition = this.define(name, target, options, false);
    this.calendar.check(where, definition);
    const now = await this.store.schedules.now();
    const nextAt = this.calendar.next(definition, now);
    // What its tasks would fail of shows now.
    await this.prepare({ ...definition, revision: 0, paused: false, nextAt, lastAt: null }, nextAt ?? now, target);
    const outcome = await this.store.schedules.put(definition, nextAt);
    if (outcome === 'taken') throw new ScheduleDeclaredError(name);
    return outcome;
  }

  async unschedule(name: string): Promise<boolean> {
    if (this.registry.declarationOf(name)?.cron !== undefined) throw new ScheduleDeclaredError(name);
    return this.store.schedules.remove(name);
  }

  async list(): Promise<ScheduleInfo[]> {
    return (await this.store.schedules.list()).map((schedule) => infoOf(schedule, payloadOf(schedule)));
  }

  async pause(name: string): Promise<void> {
    if (!(await this.store.schedules.pause(name))) throw new UnknownScheduleError(name);
  }

  async resume(name: string): Promise<void> {
    const schedule = await this.find(name);
    const nextAt = this.calendar.next(schedule, await this.store.schedules.now());
    if (!(await this.store.schedules.resume(name, nextAt))) throw new UnknownScheduleError(name);
  }

  /** The task of a tick that is now, whatever the pattern says. */
  async extra(name: string): Promise<NewTask> {
    const schedule = await this.find(name);
    return this.prepare(schedule, await this.store.schedules.now());
  }

  private async find(name: string): Promise<Schedule> {
    const schedule = await this.store.schedules.find(name);
    if (!schedule) throw new UnknownScheduleError(name);
    return schedule;
  }

  private define(
    name: string,
    { name: task, options: declared, priority }: TaskTarget,
    options: ScheduleOptions,
    isDeclared: boolean,
  ): ScheduleDefinition {
    const { cron, timeZone = 'UTC', catchUp = 'last', payload = {} } = options;
    return {
      name,
      task,
      queue: options.queue ?? declared.queue ?? 'default',
      cron,
      timeZone,
      catchUp,
      payload: encodeSchedulePayload(task, payload, this.options.maxPayloadBytes),
      priority: options.priority ?? declared.priority ?? priority,
      maxRetries: options.maxRetries ?? null,
      timeoutMs: options.timeoutMs === undefined ? null : Math.ceil(options.timeoutMs),
      declared: isDeclared,
    };
  }

  private async prepare(schedule: Schedule, tick: number, known?: TaskTarget): Promise<NewTask> {
    const { task: name, queue, priority, maxRetries, timeoutMs } = schedule;
    const target = known ?? this.targetOf(name, this.registry.declarationOf(name) ?? {});
    const due = new Date(tick);
    const payloads = await validPayloads(target, [{ ...payloadOf(schedule), tick: due.toISOString() }]);
    const options = {
      queue,
      priority,
      ...(maxRetries !== null && { maxRetries }),
      ...(timeoutMs !== null && { timeoutMs }),
    };
    const [task] = prepareTasks(target, payloads, options, this.options.maxPayloadBytes, due);
    if (!task) throw new Error('One payload gives one task.');
    return task;
  }

  private targetOf(name: string, options: BackgroundTaskOptions): TaskTarget {
    return { name, options, priority: this.options.task.priority };
  }
}

function payloadOf({ payload }: Schedule): Record<string, unknown> {
  return JSON.parse(payload) as Record<string, unknown>;
}

function infoOf(
  { payload: _, revision: __, nextAt, lastAt, ...rest }: Schedule,
  payload: Record<string, unknown>,
): ScheduleInfo {
  const date = (time: number | null) => (time === null ? null : new Date(time));
  return { ...rest, payload, nextAt: date(nextAt), lastAt: date(lastAt) };
}
