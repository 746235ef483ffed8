import { isDeepStrictEqual } from 'node:util';
import { Injectable } from '@nestjs/common';
import { DataSource, type EntityTarget, type ObjectLiteral } from 'typeorm';
import { Delivery } from '../deliveries/delivery.entity.js';
import type { RawEvent } from '../deliveries/github-event.js';
import { CommentRow } from '../read-model/rows/comment-row.entity.js';
import { CommitRow } from '../read-model/rows/commit-row.entity.js';
import { Insight } from '../read-model/rows/insight.entity.js';
import { IssueRow } from '../read-model/rows/issue-row.entity.js';
import { PullRequestRow } from '../read-model/rows/pull-request-row.entity.js';
import { RepositoryRow } from '../read-model/rows/repository-row.entity.js';
import { expectedReadModel } from './expected-read-model.js';
import { type ReadModel, type Row, tables } from './read-model-tables.js';

export interface Verification {
  /** How many rows each table holds. */
  readonly rows: Readonly<Record<string, number>>;
  /** In words; empty when the database holds what the payloads say. */
  readonly differences: readonly string[];
}

@Injectable()
export class ReadModelVerifier {
  constructor(private readonly dataSource: DataSource) {}

  /** Compares the database with what these events say. */
  async verify(events: readonly RawEvent[]): Promise<Verification> {
    const expected = expectedReadModel(events);
    const actual = await this.read();
    return {
      rows: Object.fromEntries(tables.map((table) => [table, actual[table].length])),
      differences: tables.flatMap((table) => differences(table, expected[table], actual[table])),
    };
  }

  private async read(): Promise<ReadModel> {
    const rows = async (entity: EntityTarget<ObjectLiteral>): Promise<Row[]> =>
      (await this.dataSource.getRepository(entity).find()).map((row) => ({ ...row }));
    const [deliveries, insights] = await Promise.all([
      this.dataSource.getRepository(Delivery).find(),
      this.dataSource.getRepository(Insight).find(),
    ]);
    return {
      deliveries: deliveries.map(({ id, event, processedAt }) => ({ id, event, processed: processedAt !== null })),
      repositories: await rows(RepositoryRow),
      issues: await rows(IssueRow),
      pullRequests: await rows(PullRequestRow),
      comments: await rows(CommentRow),
      commits: await rows(CommitRow),
      // How many attempts it took is not for the payloads to say.
      insights: insights.map(({ deliveryId, words, tone }) => ({ deliveryId, words, tone })),
    };
  }
}

function differences(table: string, expected: readonly Row[], actual: readonly Row[]): string[] {
  const missing = expected.filter((row) => !actual.some((other) => isDeepStrictEqual(row, other)));
  const surplus = actual.filter((row) => !expected.some((other) => isDeepStrictEqual(row, other)));
  return [
    ...missing.map((row) => `${table} lacks ${JSON.stringify(row)}`),
    ...surplus.map((row) => `${table} should not hold ${JSON.stringify(row)}`),
  ];
}
