import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { BackieModule } from 'nestjs-backie';
import { DataSource } from 'typeorm';
import { DatabaseModule } from '../shared/database.module.js';
import { DatabaseServer } from '../shared/database-server.js';
import { openDataSource } from '../shared/open-data-source.js';
import { DemoService } from './demo/demo.service.js';
import { ReportVerifier } from './demo/report.verifier.js';
import { MailGateway } from './mail-gateway/mail.gateway.js';
import { DeliverReport } from './reports/deliver-report.js';
import { FullArchive } from './reports/full-archive.js';
import { Report } from './reports/report.entity.js';
import { ReportSchedules } from './reports/report-schedules.js';
import { SalesReport } from './reports/sales-report.js';
import { Sale } from './sales/sale.entity.js';
import { SalesLedger } from './sales/sales-ledger.js';
import { Tenant } from './sales/tenant.entity.js';

const schema = 'report_scheduler';

@Module({
  imports: [
    DatabaseModule.forSample('backie-sample-02'),
    TypeOrmModule.forRootAsync({
      inject: [DatabaseServer],
      useFactory: ({ url }: DatabaseServer) => ({
        type: 'postgres',
        url,
        schema,
        // Each report that runs holds one connection: they are transactional.
        poolSize: 15,
        entities: [Sale, Tenant, Report],
      }),
      dataSourceFactory: openDataSource(schema),
    }),
    BackieModule.forRootAsync({
      inject: [DataSource],
      useFactory: (dataSource: DataSource) => ({
        dataSource,
        schema: 'report_scheduler_tasks',
        queues: [
          { name: 'reports', concurrency: 10 },
          { name: 'archive', globalConcurrency: 1 },
          { name: 'delivery', concurrency: 10 },
        ],
        shutdownGraceMs: 5_000,
      }),
    }),
  ],
  providers: [
    SalesLedger,
    SalesReport,
    FullArchive,
    DeliverReport,
    ReportSchedules,
    MailGateway,
    ReportVerifier,
    DemoService,
  ],
})
export class AppModule {}
