import { setTimeout as delay } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { DataSource, In, Not } from 'typeorm';
import { Delivery } from '../deliveries/delivery.entity.js';
import type { RawEvent } from '../deliveries/github-event.js';
import { EventTable } from './event-table.js';
import { loadExamples } from './examples.js';
import { forgedIds, GithubSender, type SendOptions } from './github-sender.js';
import { Progress } from './progress.js';
import { ReadModelVerifier } from './read-model.verifier.js';
import { ReplayRuns } from './replay-runs.js';
import { TaskBacklog } from './task-backlog.js';

const patienceMs = 120_000;

/** Posts all examples, waits for the workers, and compares what they wrote with what they had to write. */
@Injectable()
export class ReplayService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly runs: ReplayRuns,
    private readonly sender: GithubSender,
    private readonly backlog: TaskBacklog,
    private readonly progress: Progress,
    private readonly eventTable: EventTable,
    private readonly verifier: ReadModelVerifier,
  ) {}

  /** @returns whether the read model holds what the payloads say. */
  async run(options: SendOptions): Promise<boolean> {
    const examples = loadExamples();
    const { run, resumed } = await this.runs.begin();
    console.log(
      resumed
        ? `Run ${run.id} goes on where it broke off: ${await this.backlog.live()} tasks are left.`
        : `Run ${run.id} starts with empty tables.`,
    );

    const [answers, totals] = await this.progress.during(async () => {
      const sent = await this.sender.send(examples, options);
      await this.drained(options.signal);
      return sent;
    });
    const { rows, differences } = await this.verifier.verify([...examples, ...(await this.strangers(examples))]);

    await this.eventTable.print();
    console.log(
      `\nPosts: ${answers.accepted} accepted, ${answers.duplicates} duplicates, ${answers.refused} refused for their signature.` +
        `\nTasks: ${totals.done} done, ${totals.retries} retries, ${totals.rescued} rescued, ${totals.seconds.toFixed(1)} s.` +
        `\nRead model: ${Object.entries(rows)
          .map(([table, count]) => `${count} ${table}`)
          .join(', ')}.`,
    );
    const problems = [...answers.unexpected, ...differences];
    if (!resumed && answers.accepted !== examples.length) {
      problems.push(`${answers.accepted} of ${examples.length} deliveries were accepted as new ones.`);
    }
    if (problems.length > 0) {
      console.error(`\n${problems.length} problems:\n${problems.slice(0, 20).join('\n')}`);
      console.error('\nThe next run keeps what is there. To start over, see README.md.');
      return false;
    }
    await this.runs.complete(run);
    console.log('The read model holds what the payloads say.');
    return true;
  }

  private async drained(signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + patienceMs;
    for (let live = await this.backlog.live(); live > 0; live = await this.backlog.live()) {
      if (performance.now() > deadline) throw new Error(`${live} tasks are still not finished after ${patienceMs} ms.`);
      await delay(50, undefined, { signal });
    }
  }

  /** Deliveries that somebody else posted to an earlier `--serve`: the read model must tell of them too. */
  private strangers(examples: readonly RawEvent[]): Promise<RawEvent[]> {
    const known = [...examples.map(({ deliveryId }) => deliveryId), ...forgedIds(examples)];
    return this.dataSource
      .createQueryBuilder(Delivery, 'delivery')
      .select('delivery.id', 'deliveryId')
      .addSelect('delivery.event', 'name')
      .addSelect('delivery.payload', 'payload')
      .where({ id: Not(In(known)) })
      .getRawMany<RawEvent>();
  }
}
