import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

/** One replay of all examples; it is complete once the read model has been found right. */
@Entity('replay_runs')
export class ReplayRun {
  @PrimaryGeneratedColumn()
  id!: number;

  @Column({ type: 'timestamptz', default: () => 'clock_timestamp()' })
  startedAt!: Date;

  @Column({ type: 'timestamptz', nullable: true })
  completedAt!: Date | null;
}
