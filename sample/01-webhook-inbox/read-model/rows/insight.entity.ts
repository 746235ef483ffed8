import { Column, Entity, PrimaryColumn } from 'typeorm';

/** What the text service said about a delivery. */
@Entity('insights')
export class Insight {
  @PrimaryColumn({ type: 'uuid' })
  deliveryId!: string;

  @Column({ type: 'integer' })
  words!: number;

  @Column({ type: 'text' })
  tone!: string;

  /** The attempt that succeeded. */
  @Column({ type: 'integer' })
  attempt!: number;
}
