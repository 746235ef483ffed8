import type { NewTask, Stored } from '../engine/task.js';
import type { Run, Statement } from './database.js';
import { dueInMs, isKeyed } from './new-tasks.js';
import { WakeThrottle } from './wake-throttle.js';

/** Tells the workers of other processes of new tasks: by the statement that stores them if it is quiet, or afterwards. */
export class WakeTeller {
  private readonly throttle = new WakeThrottle((dueIn) => this.notify(dueIn));

  constructor(
    private readonly run: Run,
    private readonly statement: Statement,
  ) {}

  /** The queues whose workers can be woken by the statement itself: something on them is due, and it is quiet. */
  toWake(tasks: readonly NewTask[]): string[] {
    const queues = new Set<string>();
    let last: NewTask | undefined;
    for (const task of tasks) {
      if (task.handTo || isKeyed(task) || (last?.queue === task.queue && last.due === task.due)) continue;
      last = task;
      if (dueInMs(task) <= 0) queues.add(task.queue);
    }
    return [...queues].filter((queue) => this.throttle.lead(queue));
  }

  /**
   * Tells of what the statement itself told nobody.
   *
   * @param results What came of each task; empty when all were stored and handed to nobody.
   * @param told The queues that the statement has told.
   */
  tellLater(tasks: readonly NewTask[], results: ReadonlyMap<string, Stored>, told: readonly string[]): void {
    const soonest = new Map<string, number>();
    let last: NewTask | undefined;
    for (const task of tasks) {
      if (results.size === 0 && last?.queue === task.queue && last.due === task.due) continue;
      last = task;
      const { handedAt, duplicate, replaced } = results.get(task.id) ?? {};
      if (isKeyed(task)) continue;
      const inMs = dueInMs(task);
      if (handedAt !== undefined || (duplicate && !replaced) || (inMs <= 0 && told.includes(task.queue))) continue;
      soonest.set(task.queue, Math.min(soonest.get(task.queue) ?? Infinity, inMs));
    }
    for (const [queue, inMs] of soonest) this.throttle.tell(queue, inMs);
  }

  tell(queue: string, inMs: number): void {
    this.throttle.tell(queue, inMs);
  }

  stop(): void {
    this.throttle.stop();
  }

  private notify(dueIn: ReadonlyMap<string, number>): void {
    // A hint that cannot be sent costs latency, never work.
    this.run(this.statement, [[...dueIn.keys()], [...dueIn.values()]]).catch(() => {});
  }
}
