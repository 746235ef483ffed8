import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/** A delivery as GitHub sent it. GitHub's delivery id is the key: the same delivery sent twice is one row. */
@Entity('deliveries')
export class Delivery {
  @PrimaryColumn({ type: 'uuid' })
  id!: string;

  @Index()
  @Column({ type: 'text' })
  event!: string;

  @Column({ type: 'jsonb' })
  payload!: object;

  @Column({ type: 'timestamptz', default: () => 'clock_timestamp()' })
  receivedAt!: Date;

  /** Set in the transaction that projects the delivery into the read model. */
  @Column({ type: 'timestamptz', nullable: true })
  processedAt!: Date | null;
}
