import { Injectable } from '@nestjs/common';
import { type Task, type TaskCounts, TaskQueue } from 'nestjs-backie';

const queues = ['webhooks', 'enrichment'] as const;

/** The sample's own tasks, whatever else works on the same database. */
@Injectable()
export class TaskBacklog {
  constructor(private readonly tasks: TaskQueue) {}

  async counts(): Promise<Pick<TaskCounts, 'ready' | 'running' | 'failed'>> {
    // In the order in which the work flows: when nothing is live in "webhooks", nobody adds to "enrichment" any more.
    // The other way round, a task could slip from one queue into the other between the two looks.
    const webhooks = await this.tasks.counts('webhooks');
    const enrichment = await this.tasks.counts('enrichment');
    return {
      ready: webhooks.ready + enrichment.ready,
      running: webhooks.running + enrichment.running,
      failed: webhooks.failed + enrichment.failed,
    };
  }

  async live(): Promise<number> {
    const { ready, running } = await this.counts();
    return ready + running;
  }

  async retryFailed(): Promise<void> {
    for (const task of await this.failed()) await this.tasks.retry(task.id);
  }

  async removeFailed(): Promise<void> {
    for (const task of await this.failed()) await this.tasks.remove(task.id);
  }

  private async failed(): Promise<Task[]> {
    const pages = await Promise.all(
      queues.map((queue) => this.tasks.list({ queue, state: 'failed' }, { limit: 1_000 })),
    );
    return pages.flatMap((page) => page.tasks);
  }
}
