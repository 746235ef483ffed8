import type { PoolClient } from 'pg';
import { queryByDriver } from './driver-query.js';

/**
 * How each of the engine's sessions is set. The plans of its few statements must not depend on statistics, which are
 * always wrong for a queue: empty in one minute, a million rows in the next.
 */
const settings: Readonly<Record<string, string>> = {
  default_transaction_isolation: 'read committed',
  // A statement that takes longer is stuck, not busy.
  statement_timeout: '30000',
  idle_in_transaction_session_timeout: '60000',
  plan_cache_mode: 'force_generic_plan',
  enable_seqscan: 'off',
  enable_bitmapscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  // A small table that can only be read as a whole looks expensive then: worth a compiler and two more processes.
  jit: 'off',
  max_parallel_workers_per_gather: '0',
};

export interface SessionKind {
  /** Whether it is a transaction pooler's, and not set. */
  readonly pooled: boolean;
  /** Whether the server is one whose unlogged tables outlive a crash: an Amazon Aurora. */
  readonly keepsUnlogged: boolean;
}

/**
 * Sets up a new session, unless it is a transaction pooler's: there the server's own process id differs from the one
 * that the pooler gave us, and a setting would stay behind in a session that others use next.
 */
export async function setUpSession(client: PoolClient): Promise<SessionKind> {
  const pairs = Object.keys(settings).map((_, i) => `($${2 * i + 2}, $${2 * i + 3})`);
  const text = `
    SELECT set_config(s.name, s.setting, false), to_regproc('aurora_version') IS NOT NULL
    FROM (VALUES ${pairs.join(', ')}) s(name, setting)
    WHERE pg_backend_pid() = $1::int`;
  const { processID } = client as unknown as { processID: number };
  const [row] = await queryByDriver(client, { name: '', text }, [processID, ...Object.entries(settings).flat()]);
  return { pooled: row === undefined, keepsUnlogged: row?.[1] === 't' };
}
