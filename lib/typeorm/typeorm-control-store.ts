import { ControlStore, type Declarations } from '../engine/control-store.js';
import type { Control, LimitChanges, QueueControl, QueueLimits, RateLimit } from '../engine/limits.js';
import type { controlSql } from './control.sql.js';
import type { Run, Statement } from './database.js';
import { text } from './task-row.js';

type ControlStatements = Readonly<Record<keyof ReturnType<typeof controlSql>, Statement>>;

const sweepEveryMs = 60_000;
const sweepLimit = 10_000;

/** Keeps limits and pauses in PostgreSQL, beside the tasks. */
export class TypeOrmControlStore extends ControlStore {
  private sweptAt: number;
  /** Somebody may have left buckets. */
  private buckets = true;

  constructor(
    private readonly statements: ControlStatements,
    private readonly run: Run,
    private readonly now: () => number = () => performance.now(),
  ) {
    super();
    this.sweptAt = now();
  }

  async declare({ queues, tasks }: Declarations): Promise<void> {
    const ofQueues = [...queues].map(([name, { globalConcurrency, rateLimit }]) => {
      return [name, globalConcurrency, ...columns(rateLimit)];
    });
    const ofTasks = [...tasks].map(([name, { queue, rateLimit }]) => [name, queue, ...columns(rateLimit)]);
    await this.run(this.statements.controlDeclare, [JSON.stringify(ofQueues), JSON.stringify(ofTasks)]);
  }

  async read(): Promise<Control> {
    const queues = new Map<string, QueueControl>();
    const pausedTasks = new Set<string>();
    const ratedTasks = new Set<string>();
    for (const [kind, name, paused, limited, concurrency] of await this.run(this.statements.controlRead, [])) {
      if (kind === 'queue') {
        queues.set(text(name), {
          paused: paused === 't',
          limited: limited === 't',
          concurrency: numberOf(concurrency),
        });
      } else {
        if (paused === 't') pausedTasks.add(text(name));
        if (limited === 't') ratedTasks.add(text(name));
      }
    }
    if ([...queues.values()].some(({ limited }) => limited)) this.buckets = true;
    // What the latest limit has left is swept away after it.
    if (this.buckets && this.now() - this.sweptAt >= sweepEveryMs) this.sweep().catch(() => {});
    return { queues, pausedTasks, ratedTasks };
  }

  async setLimits(queue: string, { concurrency, globalConcurrency, rateLimit }: LimitChanges): Promise<void> {
    const rate = rateLimit === 'none' ? [0, 0] : columns(rateLimit ?? null);
    await this.run(this.statements.controlSetLimits, [
      queue,
      concurrency !== undefined,
      concurrency ?? null,
      globalConcurrency !== undefined,
      globalConcurrency === 'none' ? 0 : (globalConcurrency ?? null),
      rateLimit !== undefined,
      ...rate,
    ]);
  }

  async limits(queue: string): Promise<QueueLimits> {
    const [row = []] = await this.run(this.statements.controlLimits, [queue]);
    const [concurrency = null, most = null, max = null, perMs = null, declared = null, ...rate] = row.map(numberOf);
    const changed = { concurrency, globalConcurrency: most, rateLimit: max };
    const tasks = (await this.run(this.statements.controlRatedTasks, [queue])).flatMap(([name, ...columnsOfIt]) => {
      const rateLimit = rateOf(...(columnsOfIt.map(numberOf) as [number | null, number | null]));
      return rateLimit ? [{ name: text(name), rateLimit }] : [];
    });
    return {
      concurrency,
      globalConcurrency: (most ?? declared) || null,
      rateLimit: max === null ? rateOf(rate[0], rate[1]) : rateOf(max, perMs),
      changed: (Object.keys(changed) as (keyof typeof changed)[]).filter((key) => changed[key] !== null),
      tasks,
    };
  }

  async forgetTaskLimit(name: string): Promise<void> {
    await this.run(this.statements.controlForgetTaskLimit, [name]);
  }

  async pauseTask(name: string): Promise<void> {
    await this.run(this.statements.controlPauseTask, [name]);
  }

  async resumeTask(name: string): Promise<void> {
    await this.run(this.statements.controlResumeTask, [name]);
  }

  async pausedTasks(): Promise<readonly string[]> {
    return (await this.run(this.statements.controlPausedTasks, [])).map(([name]) => text(name));
  }

  /** Buckets of keys that nobody uses any more would stay for ever. A sweep that fails is made good by the next. */
  private async sweep(): Promise<void> {
    this.sweptAt = this.now();
    for (let removed = sweepLimit; removed === sweepLimit;) {
      const [row = []] = await this.run(this.statements.controlSweep, [sweepLimit]);
      removed = Number(row[0]);
      this.buckets = row[1] === 't';
    }
  }
}

function columns(rate: RateLimit | null): [number | null, number | null] {
  return rate ? [rate.max, rate.perMs] : [null, null];
}

function rateOf(max: number | null | undefined, perMs: number | null | undefined): RateLimit | null {
  return max && perMs ? { max, perMs } : null;
}

function numberOf(value: string | null | undefined): number | null {
  return value == null ? null : Number(value);
}
