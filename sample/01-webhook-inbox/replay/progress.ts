import { Injectable } from '@nestjs/common';
import { TaskEvents } from 'nestjs-backie';
import { exhaustMap, Subscription, timer } from 'rxjs';
import { TaskBacklog } from './task-backlog.js';

/** What this process did while the progress was shown. */
export interface ProgressTotals {
  done: number;
  retries: number;
  rescued: number;
  seconds: number;
}

/** A line that shows what the workers are doing: redrawn in place on a terminal, now and then a new one elsewhere. */
@Injectable()
export class Progress {
  private readonly inPlace = process.stdout.isTTY;

  constructor(
    private readonly events: TaskEvents,
    private readonly backlog: TaskBacklog,
  ) {}

  /** Draws while `work` is at work. */
  async during<Result>(work: () => Promise<Result>): Promise<[Result, ProgressTotals]> {
    const startedAt = performance.now();
    const totals: ProgressTotals = { done: 0, retries: 0, rescued: 0, seconds: 0 };
    const toRetry = new Set<string>();
    const draw = async (): Promise<void> => {
      const { ready, running, failed } = await this.backlog.counts();
      totals.seconds = (performance.now() - startedAt) / 1_000;
      this.write(
        `${totals.done} done, ${running} running, ${ready} waiting, ${toRetry.size} of them to retry ` +
          `(${totals.retries} retries so far), ${failed} failed, ${Math.round(totals.done / totals.seconds)} per second`,
      );
    };

    const subscription = new Subscription();
    subscription.add(this.events.done.subscribe(() => totals.done++));
    subscription.add(this.events.rescued.subscribe(() => totals.rescued++));
    subscription.add(
      this.events.retrying.subscribe(({ id }) => {
        totals.retries++;
        toRetry.add(id);
      }),
    );
    subscription.add(this.events.started.subscribe(({ id }) => toRetry.delete(id)));
    subscription.add(
      timer(0, this.inPlace ? 100 : 1_000)
        .pipe(exhaustMap(draw))
        .subscribe(),
    );
    try {
      const result = await work();
      await draw();
      return [result, totals];
    } finally {
      subscription.unsubscribe();
      if (this.inPlace) process.stdout.write('\n');
    }
  }

  private write(line: string): void {
    process.stdout.write(this.inPlace ? `\r${line}\u001B[K` : `${line}\n`);
  }
}
