import { Column, Entity, PrimaryColumn } from 'typeorm';
import { githubId, VersionedRow } from './versioned-row.js';

@Entity('issues')
export class IssueRow extends VersionedRow {
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

  /** GitHub leaves the state out of some deliveries. */
  @Column({ type: 'text', nullable: true })
  state!: string | null;

  @Column({ type: 'integer' })
  comments!: number;

  @Column({ type: 'text', array: true })
  labels!: string[];
}
