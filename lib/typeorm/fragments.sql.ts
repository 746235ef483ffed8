/** What statements of several files say in the same words. */

/**
 * The row of `t` whose key stands in a row of the input. Not by `=` alone: the planner would also consider a merge join,
 * and for its sake a walk through the whole primary key, joined with each row of the input. That looks cheap whenever
 * the table was empty when it was last vacuumed or analyzed.
 */
export const sameKey = (t: string, i: string) => `${t}."id" = ANY(ARRAY[${i}."id"]) AND ${t}."queue" = ${i}."queue"`;

export const millis = (column: string) => `(extract(epoch FROM ${column}) * 1000)::float8`;

/**
 * Whether a worker may have tasks of a queue: its lease is alive, and the queue is neither paused nor limited. From one
 * that is limited only `claimLimited` claims, whatever a worker knows.
 *
 * @param s The quoted schema.
 */
export const mayHave = (s: string, workerId: string, queueName: string) => `
            EXISTS (SELECT FROM ${s}."worker" w WHERE w."id" = ${workerId}::uuid AND w."lease_until" > now())
            AND NOT EXISTS (SELECT FROM ${s}."queue" q
              WHERE q."name" = ${queueName} AND (q."paused_at" IS NOT NULL OR q."limited"))`;

/** Which `claim_base` counts: the one that this run of the server has set, whatever a copy or a storage may have kept. */
export const ofThisRun = (b: string) => `${b}."server" = pg_postmaster_start_time()`;

/**
 * The number that no next claim of any task may be below; an error when the server has started or crashed since it was set.
 *
 * A claim may be acted on before it is on the disk. One that a crash forgets has given its number away all the same, and
 * nothing tells which: so after a crash each next claim is numbered far above, see `beginEpoch`.
 *
 * @param s The quoted schema.
 */
export const claimBase = (s: string) =>
  `(SELECT b."base" FROM ${s}."claim_base" b WHERE ${ofThisRun('b')})::${s}."claim_number"`;

/** The number of a task's next claim. */
export const nextClaim = (base: string, claimSeq: string) => `greatest(${claimSeq} + 1, ${base})`;

export const leastId = '00000000-0000-0000-0000-000000000000';
const greatestId = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/**
 * Ids that come after the cursor in this order, or all when it is null. Not `cursor IS NULL OR …`: the plan that a session
 * keeps could not begin at the cursor then, and would read all that stands before it.
 */
export function beyond(id: string, cursor: string, order: 'ASC' | 'DESC'): string {
  const [reaches, first] = order === 'ASC' ? ['>=', leastId] : ['<=', greatestId];
  return `${id} ${reaches} coalesce(${cursor}::uuid, '${first}') AND ${id} IS DISTINCT FROM ${cursor}::uuid`;
}
