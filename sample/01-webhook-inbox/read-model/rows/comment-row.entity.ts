import { Column, Entity, PrimaryColumn } from 'typeorm';
import { githubId, VersionedRow } from './versioned-row.js';

@Entity('comments')
export class CommentRow extends VersionedRow {
  /** The event that told of it: each of them counts ids of its own. */
  @PrimaryColumn({ type: 'text' })
  kind!: string;

  @PrimaryColumn(githubId)
  id!: number;

  @Column(githubId)
  repositoryId!: number;

  @Column({ type: 'text' })
  author!: string;

  @Column({ type: 'text' })
  body!: string;
}
