import { Column, Entity, PrimaryColumn } from 'typeorm';

/** A finished report. Its id is that of its task, so there cannot be two of one task. */
@Entity()
export class Report {
  @PrimaryColumn({ type: 'uuid' })
  id!: string;

  @Column({ type: 'text' })
  tenant!: string;

  /** The tick of the schedule that it belongs to. */
  @Column({ type: 'timestamptz' })
  tick!: Date;

  @Column({ type: 'timestamptz' })
  startedAt!: Date;

  @Column({ type: 'timestamptz' })
  finishedAt!: Date;

  /** One line a month: month, sales, cents. */
  @Column({ type: 'text' })
  csv!: string;

  @Column({ type: 'timestamptz', nullable: true })
  deliveredAt!: Date | null;
}
