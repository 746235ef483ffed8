import { Injectable } from '@nestjs/common';
import type { Repository } from '@octokit/webhooks-types';
import type { EntityManager } from 'typeorm';
import type { GithubEvent } from '../../deliveries/github-event.js';
import { RepositoryRow } from '../rows/repository-row.entity.js';
import { upsertLatest } from '../upsert-latest.js';
import type { Projector } from './projector.js';

@Injectable()
export class RepositoriesProjector implements Projector {
  async project({ name, deliveryId, payload }: GithubEvent, manager: EntityManager): Promise<void> {
    const { repository, action } = payload as { repository?: Repository; action?: string };
    if (!repository) return;
    await upsertLatest(manager, RepositoryRow, {
      id: repository.id,
      fullName: repository.full_name,
      owner: repository.owner.login,
      private: repository.private,
      defaultBranch: repository.default_branch,
      stars: repository.stargazers_count,
      openIssues: repository.open_issues_count,
      deleted: name === 'repository' && action === 'deleted',
      updatedAt: new Date(repository.updated_at),
      deliveryId,
    });
  }
}
