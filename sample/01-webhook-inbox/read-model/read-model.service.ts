import { Injectable } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { GithubEvent } from '../deliveries/github-event.js';
import { CommentsProjector } from './projectors/comments.projector.js';
import { CommitsProjector } from './projectors/commits.projector.js';
import { IssuesProjector } from './projectors/issues.projector.js';
import type { Projector } from './projectors/projector.js';
import { PullRequestsProjector } from './projectors/pull-requests.projector.js';
import { RepositoriesProjector } from './projectors/repositories.projector.js';

@Injectable()
export class ReadModelService {
  /**
   * Twenty deliveries are projected at once, and most of them tell of the same repository. Everybody locks the tables
   * in this order, so nobody deadlocks, and the row that everybody wants comes last, so it is held for a moment only.
   */
  private readonly projectors: readonly Projector[];

  constructor(
    commits: CommitsProjector,
    comments: CommentsProjector,
    pullRequests: PullRequestsProjector,
    issues: IssuesProjector,
    repositories: RepositoriesProjector,
  ) {
    this.projectors = [commits, comments, pullRequests, issues, repositories];
  }

  async project(event: GithubEvent, manager: EntityManager): Promise<void> {
    for (const projector of this.projectors) await projector.project(event, manager);
  }
}
