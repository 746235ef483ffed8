import { Injectable } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import { type GithubEvent, isOneOf } from '../../deliveries/github-event.js';
import { CommitRow } from '../rows/commit-row.entity.js';
import type { Projector } from './projector.js';

@Injectable()
export class CommitsProjector implements Projector {
  async project(event: GithubEvent, manager: EntityManager): Promise<void> {
    if (!isOneOf(event, ['push'])) return;
    const { commits, repository } = event.payload;
    const rows = commits.map((commit) => ({
      repositoryId: repository.id,
      sha: commit.id,
      author: commit.author.name,
      message: commit.message,
      committedAt: new Date(commit.timestamp),
    }));
    if (rows.length === 0) return;
    // Two pushes may tell of the same commits: locked in one order, they wait for each other but never in a circle.
    rows.sort((a, b) => (a.sha < b.sha ? -1 : 1));
    await manager.createQueryBuilder().insert().into(CommitRow).values(rows).orIgnore().execute();
  }
}
