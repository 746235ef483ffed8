import { Column, Entity, PrimaryColumn } from 'typeorm';
import { githubId, VersionedRow } from './versioned-row.js';

@Entity('repositories')
export class RepositoryRow extends VersionedRow {
  @PrimaryColumn(githubId)
  id!: number;

  @Column({ type: 'text' })
  fullName!: string;

  @Column({ type: 'text' })
  owner!: string;

  @Column({ type: 'boolean' })
  private!: boolean;

  @Column({ type: 'text' })
  defaultBranch!: string;

  @Column({ type: 'integer' })
  stars!: number;

  @Column({ type: 'integer' })
  openIssues!: number;
}
