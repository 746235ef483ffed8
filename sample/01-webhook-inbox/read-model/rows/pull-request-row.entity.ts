import { Column, Entity, PrimaryColumn } from 'typeorm';
import { githubId, VersionedRow } from './versioned-row.js';

@Entity('pull_requests')
export class PullRequestRow extends VersionedRow {
  @PrimaryColumn(githubId)
  id!: number;

  @Column(githubId)
  repositoryId!: number;

  @Column({ type: 'integer' })
  number!: number;

  @Column({ type: 'text' })
  title!: string;

  @Column({ type: 'text' })
  author!: string;

  @Column({ type: 'text' })
  state!: string;

  @Column({ type: 'boolean' })
  draft!: boolean;

  @Column({ type: 'boolean' })
  merged!: boolean;
}
