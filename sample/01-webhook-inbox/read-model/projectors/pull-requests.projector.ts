import { Injectable } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import { type GithubEvent, isOneOf } from '../../deliveries/github-event.js';
import { PullRequestRow } from '../rows/pull-request-row.entity.js';
import { upsertLatest } from '../upsert-latest.js';
import type { Projector } from './projector.js';

@Injectable()
export class PullRequestsProjector implements Projector {
  async project(event: GithubEvent, manager: EntityManager): Promise<void> {
    if (
      !isOneOf(event, [
        'pull_request',
        'pull_request_review',
        'pull_request_review_comment',
        'pull_request_review_thread',
      ])
    ) {
      return;
    }
    const { pull_request: pull, repository } = event.payload;
    await upsertLatest(manager, PullRequestRow, {
      id: pull.id,
      repositoryId: repository.id,
      number: pull.number,
      title: pull.title,
      author: pull.user.login,
      state: pull.state,
      draft: pull.draft ?? false,
      merged: pull.merged_at !== null,
      deleted: false,
      updatedAt: new Date(pull.updated_at),
      deliveryId: event.deliveryId,
    });
  }
}
