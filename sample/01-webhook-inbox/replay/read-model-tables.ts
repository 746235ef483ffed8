export type Row = Readonly<Record<string, unknown>>;

export const tables = [
  'deliveries',
  'repositories',
  'issues',
  'pullRequests',
  'comments',
  'commits',
  'insights',
] as const;

/** All that the database must hold after a replay, in any order of rows. */
export type ReadModel = Readonly<Record<(typeof tables)[number], readonly Row[]>>;
