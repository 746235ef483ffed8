import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { BackieModule } from 'nestjs-backie';
import { DataSource } from 'typeorm';
import { DatabaseModule } from '../shared/database.module.js';
import { DatabaseServer } from '../shared/database-server.js';
import { openDataSource } from '../shared/open-data-source.js';
import { DeliveriesModule } from './deliveries/deliveries.module.js';
import { Delivery } from './deliveries/delivery.entity.js';
import { HandlersModule } from './handlers/handlers.module.js';
import { CommentRow } from './read-model/rows/comment-row.entity.js';
import { CommitRow } from './read-model/rows/commit-row.entity.js';
import { Insight } from './read-model/rows/insight.entity.js';
import { IssueRow } from './read-model/rows/issue-row.entity.js';
import { PullRequestRow } from './read-model/rows/pull-request-row.entity.js';
import { RepositoryRow } from './read-model/rows/repository-row.entity.js';
import { ReplayModule } from './replay/replay.module.js';
import { ReplayRun } from './replay/replay-run.entity.js';

const inboxSchema = 'webhook_inbox';

@Module({
  imports: [
    DatabaseModule.forSample('backie-sample-01'),
    TypeOrmModule.forRootAsync({
      inject: [DatabaseServer],
      useFactory: (server: DatabaseServer) => ({
        type: 'postgres',
        url: server.url,
        schema: inboxSchema,
        // Twenty and five handlers, and the deliveries that arrive meanwhile.
        poolSize: 30,
        entities: [Delivery, RepositoryRow, IssueRow, PullRequestRow, CommentRow, CommitRow, Insight, ReplayRun],
      }),
      dataSourceFactory: openDataSource(inboxSchema),
    }),
    BackieModule.forRootAsync({
      inject: [DataSource],
      useFactory: (dataSource: DataSource) => ({
        dataSource,
        queues: [
          { name: 'webhooks', concurrency: 20 },
          { name: 'enrichment', concurrency: 5 },
        ],
        // Short, so that a second run soon gets what a killed one was holding. The defaults suit production.
        leaseMs: 5_000,
        heartbeatMs: 1_500,
        shutdownGraceMs: 5_000,
        // Not a poisonous task but a reader of README.md is what kills this process time and again.
        maxCrashes: 1_000,
      }),
    }),
    DeliveriesModule,
    HandlersModule,
    ReplayModule,
  ],
})
export class AppModule {}
