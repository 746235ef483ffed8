import { quoteSchema } from './identifiers.js';
import { later } from './new-tasks.sql.js';

/** Workers and their leases. */
export function workerSql(schema: string) {
  const s = quoteSchema(schema);
  const task = `${s}."task"`;
  const worker = `${s}."worker"`;

  /** $1 worker, $2 lease in ms. A lease that has ended is not renewed: its tasks may be somebody else's by now. */
  const renewLease = `
      UPDATE ${worker} SET "lease_until" = ${later('$2::float8')} WHERE "id" = $1::uuid AND "lease_until" > now()`;

  return {
    /** $1 id, $2 host, $3 pid, $4 version, $5 queues as JSON, $6 lease in ms. */
    registerWorker: `
      INSERT INTO ${worker} ("id", "host", "pid", "version", "queues", "lease_until")
      VALUES ($1::uuid, $2, $3, $4, $5::jsonb, ${later('$6::float8')})`,

    renewLease,

    /** The same, which answers whether there was a lease to renew. */
    renewLeaseHere: `${renewLease} RETURNING 1`,

    /** $1 worker. */
    endLease: `DELETE FROM ${worker} WHERE "id" = $1::uuid`,

    /** $1 worker; by task_running. */
    holdings: `
      SELECT "id", "queue", "claim_seq", "cancel_keep_ms" IS NOT NULL FROM ${task} WHERE "worker_id" = $1::uuid`,
  };
}
