/** What columns of several tables have in common. */
export const timestamptz = { type: 'timestamptz' as const };
export const nullable = { nullable: true };

/** Where the tables are, and that the migrations alone shape them. */
export interface Place {
  readonly schema: string;
  readonly synchronize: false;
}
