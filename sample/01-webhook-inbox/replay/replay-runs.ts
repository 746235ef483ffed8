import { Injectable } from '@nestjs/common';
import { DataSource, IsNull } from 'typeorm';
import { ReplayRun } from './replay-run.entity.js';
import { TaskBacklog } from './task-backlog.js';

/** Knows whether the last run came to its end, and so whether this one starts afresh or takes up where it broke off. */
@Injectable()
export class ReplayRuns {
  constructor(
    private readonly dataSource: DataSource,
    private readonly backlog: TaskBacklog,
  ) {}

  async begin(): Promise<{ run: ReplayRun; resumed: boolean }> {
    const runs = this.dataSource.getRepository(ReplayRun);
    const interrupted = await runs.findOne({ where: { completedAt: IsNull() }, order: { id: 'DESC' } });
    if (interrupted) {
      await this.backlog.retryFailed();
      return { run: interrupted, resumed: true };
    }
    // After a complete run only deliveries that somebody posted to `--serve` can be left: they have their own effects.
    const resumed = (await this.backlog.live()) > 0;
    if (!resumed) await this.clear();
    return { run: await runs.save(new ReplayRun()), resumed };
  }

  async complete({ id }: ReplayRun): Promise<void> {
    await this.dataSource.getRepository(ReplayRun).update({ id }, { completedAt: () => 'clock_timestamp()' });
  }

  private async clear(): Promise<void> {
    await this.backlog.removeFailed();
    const tables = this.dataSource.entityMetadatas
      .filter((entity) => entity.target !== ReplayRun)
      .map((entity) => entity.tablePath);
    await this.dataSource.query(`TRUNCATE ${tables.join(', ')}`);
  }
}
