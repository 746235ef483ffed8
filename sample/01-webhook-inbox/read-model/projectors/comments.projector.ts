import { Injectable } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import { type GithubEvent, isOneOf } from '../../deliveries/github-event.js';
import { CommentRow } from '../rows/comment-row.entity.js';
import { upsertLatest } from '../upsert-latest.js';
import type { Projector } from './projector.js';

@Injectable()
export class CommentsProjector implements Projector {
  async project(event: GithubEvent, manager: EntityManager): Promise<void> {
    if (!isOneOf(event, ['commit_comment', 'discussion_comment', 'issue_comment', 'pull_request_review_comment'])) {
      return;
    }
    const { comment, repository, action } = event.payload;
    await upsertLatest(manager, CommentRow, {
      kind: event.name,
      id: comment.id,
      repositoryId: repository.id,
      author: comment.user.login,
      body: comment.body,
      deleted: action === 'deleted',
      updatedAt: new Date(comment.updated_at),
      deliveryId: event.deliveryId,
    });
  }
}
