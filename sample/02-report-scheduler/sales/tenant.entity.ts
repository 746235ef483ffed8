import { Column, Entity, PrimaryColumn } from 'typeorm';

/** A shop that wants its reports at its own time of day. */
@Entity()
export class Tenant {
  @PrimaryColumn({ type: 'text' })
  name!: string;

  @Column({ type: 'text' })
  timeZone!: string;
}
