import { Injectable } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import { type GithubEvent, isOneOf } from '../../deliveries/github-event.js';
import { IssueRow } from '../rows/issue-row.entity.js';
import { upsertLatest } from '../upsert-latest.js';
import type { Projector } from './projector.js';

@Injectable()
export class IssuesProjector implements Projector {
  async project(event: GithubEvent, manager: EntityManager): Promise<void> {
    if (!isOneOf(event, ['issues', 'issue_comment'])) return;
    const { issue, repository } = event.payload;
    await upsertLatest(manager, IssueRow, {
      id: issue.id,
      repositoryId: repository.id,
      number: issue.number,
      title: issue.title,
      author: issue.user.login,
      state: issue.state ?? null,
      comments: issue.comments,
      labels: (issue.labels ?? []).map((label) => label.name),
      deleted: event.name === 'issues' && event.payload.action === 'deleted',
      updatedAt: new Date(issue.updated_at),
      deliveryId: event.deliveryId,
    });
  }
}
