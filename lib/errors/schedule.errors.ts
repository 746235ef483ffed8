import { BackieError, quoted } from './backie.error.js';

/** A cron pattern or time zone cannot be read, or never ticks. */
export class InvalidScheduleError extends BackieError {}

/** The name belongs to a schedule that a decorated class declares, so it cannot be made or removed at run time. */
export class ScheduleDeclaredError extends BackieError {
  constructor(name: string) {
    super(
      `The schedule ${quoted([name])} is declared by @BackgroundTask(${quoted([name])}, { cron }). ` +
        `Change it there, or pause it by TaskQueue.pauseSchedule().`,
    );
  }
}

/** There is no schedule of this name. */
export class UnknownScheduleError extends BackieError {
  constructor(name: string) {
    super(`There is no schedule ${quoted([name])}. TaskQueue.schedules() lists those that there are.`);
  }
}
