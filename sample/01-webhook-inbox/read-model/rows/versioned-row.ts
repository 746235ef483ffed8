import { Column, type ColumnOptions } from 'typeorm';

/** GitHub's ids need more than 32 bits and fit a JavaScript number; the driver reads a bigint as a string. */
export const githubId = {
  type: 'bigint',
  transformer: { to: (id: number) => id, from: (id: string) => Number(id) },
} satisfies ColumnOptions;

/**
 * A row that many deliveries describe. Deliveries are processed at the same time and in any order, so a row keeps the
 * greatest version that was seen, ordered by these three columns: whatever the order, the same row remains.
 */
export abstract class VersionedRow {
  /** Greater than any version that is not deleted: nothing comes back. */
  @Column({ type: 'boolean' })
  deleted!: boolean;

  /** GitHub's own `updated_at`. */
  @Column({ type: 'timestamptz' })
  updatedAt!: Date;

  /** The delivery that this version came with; it decides between two of one second. */
  @Column({ type: 'uuid' })
  deliveryId!: string;
}
