import { Column, Entity, PrimaryColumn } from 'typeorm';
import { githubId } from './versioned-row.js';

/** A commit never changes: the first delivery that tells of it is as good as any. */
@Entity('commits')
export class CommitRow {
  @PrimaryColumn(githubId)
  repositoryId!: number;

  @PrimaryColumn({ type: 'text' })
  sha!: string;

  @Column({ type: 'text' })
  author!: string;

  @Column({ type: 'text' })
  message!: string;

  @Column({ type: 'timestamptz' })
  committedAt!: Date;
}
