import { Injectable, type OnModuleInit } from '@nestjs/common';
import { DataSource, type EntityManager, MoreThan } from 'typeorm';
import { Sale } from './sale.entity.js';
import { Tenant } from './tenant.entity.js';

export interface MonthOfSales {
  readonly month: string;
  readonly sales: number;
  readonly cents: number;
}

const tenants = [
  { name: 'amsterdam-bikes', timeZone: 'Europe/Amsterdam' },
  { name: 'berlin-books', timeZone: 'Europe/Berlin' },
  { name: 'chicago-coffee', timeZone: 'America/Chicago' },
  { name: 'kyoto-knives', timeZone: 'Asia/Tokyo' },
  { name: 'lord-howe-surf', timeZone: 'Australia/Lord_Howe' },
  { name: 'new-york-news', timeZone: 'America/New_York' },
];
const salesInAll = 60_000;

/** What was sold: 60,000 sales of a year, spread over the tenants by arithmetic, so that every run has the same ones. */
@Injectable()
export class SalesLedger implements OnModuleInit {
  constructor(private readonly dataSource: DataSource) {}

  async onModuleInit(): Promise<void> {
    const { manager } = this.dataSource;
    await manager.upsert(Tenant, tenants, ['name']);
    if ((await manager.count(Sale)) === salesInAll) return;
    const { tablePath } = this.dataSource.getMetadata(Sale);
    await manager.query(
      `INSERT INTO ${tablePath} ("id", "tenant", "soldAt", "product", "cents")
       SELECT i, ($2::text[])[(1 + i % cardinality($2::text[]))::int], timestamptz '2025-01-01 00:00Z' + i * interval '525 seconds',
         'article ' || i * 7919 % 400, 100 + i * 104729 % 9900
       FROM generate_series(1::bigint, $1::bigint) i ON CONFLICT DO NOTHING`,
      [salesInAll, tenants.map(({ name }) => name)],
    );
  }

  tenants(): Promise<Tenant[]> {
    return this.dataSource.manager.find(Tenant, { order: { name: 'ASC' } });
  }

  /** The months of a tenant as its own calendar has them. */
  async months({ name, timeZone }: Tenant, manager: EntityManager = this.dataSource.manager): Promise<MonthOfSales[]> {
    const { tablePath } = this.dataSource.getMetadata(Sale);
    return manager.query<MonthOfSales[]>(
      `SELECT to_char("soldAt" AT TIME ZONE $2, 'YYYY-MM') AS "month", count(*)::int AS "sales", sum("cents")::int AS "cents"
       FROM ${tablePath} WHERE "tenant" = $1 GROUP BY 1 ORDER BY 1`,
      [name, timeZone],
    );
  }

  /** Some sales after the one with this id, in the order of their ids. */
  page(after: number, limit: number): Promise<Sale[]> {
    return this.dataSource.manager.find(Sale, { where: { id: MoreThan(after) }, order: { id: 'ASC' }, take: limit });
  }

  async total(): Promise<{ sales: number; cents: number }> {
    const sales = await this.dataSource.manager.count(Sale);
    return { sales, cents: (await this.dataSource.manager.sum(Sale, 'cents')) ?? 0 };
  }
}
