import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

@Entity()
@Index(['tenant', 'id'])
export class Sale {
  @PrimaryColumn({ type: 'integer' })
  id!: number;

  @Column({ type: 'text' })
  tenant!: string;

  @Column({ type: 'timestamptz' })
  soldAt!: Date;

  @Column({ type: 'text' })
  product!: string;

  @Column({ type: 'integer' })
  cents!: number;
}
