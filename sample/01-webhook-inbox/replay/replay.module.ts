import { Module } from '@nestjs/common';
import { DeliveriesModule } from '../deliveries/deliveries.module.js';
import { EventTable } from './event-table.js';
import { GithubSender } from './github-sender.js';
import { Progress } from './progress.js';
import { ReadModelVerifier } from './read-model.verifier.js';
import { ReplayRuns } from './replay-runs.js';
import { ReplayService } from './replay.service.js';
import { TaskBacklog } from './task-backlog.js';

/** Everything that only the sample needs: GitHub's part, the progress, the table and the proof. */
@Module({
  imports: [DeliveriesModule],
  providers: [ReplayService, ReplayRuns, GithubSender, TaskBacklog, Progress, EventTable, ReadModelVerifier],
})
export class ReplayModule {}
