import { Module } from '@nestjs/common';
import { CommentsProjector } from './projectors/comments.projector.js';
import { CommitsProjector } from './projectors/commits.projector.js';
import { IssuesProjector } from './projectors/issues.projector.js';
import { PullRequestsProjector } from './projectors/pull-requests.projector.js';
import { RepositoriesProjector } from './projectors/repositories.projector.js';
import { ReadModelService } from './read-model.service.js';

@Module({
  providers: [
    ReadModelService,
    CommentsProjector,
    CommitsProjector,
    IssuesProjector,
    PullRequestsProjector,
    RepositoriesProjector,
  ],
  exports: [ReadModelService],
})
export class ReadModelModule {}
