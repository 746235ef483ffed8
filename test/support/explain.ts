import type { Client } from 'pg';
import { escapeLiteral } from 'pg';

/** A node of PostgreSQL's plan, as `EXPLAIN (FORMAT JSON)` shows it. */
export interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly 'Index Cond'?: string;
  readonly 'Join Type'?: string;
  readonly 'Subplan Name'?: string;
  readonly 'Actual Rows'?: number;
  readonly 'Actual Loops'?: number;
  readonly 'Shared Hit Blocks'?: number;
  readonly 'Shared Read Blocks'?: number;
  readonly Plans?: readonly PlanNode[];
}

/** Explains a statement that the session has prepared: by the plan that it keeps, or by one that it makes now. */
export async function explain(
  client: Client,
  prepared: string,
  values: readonly unknown[],
  options = 'COSTS OFF',
): Promise<PlanNode> {
  const given = values.length > 0 ? `(${values.map(literal).join(', ')})` : '';
  const { rows } = await client.query<{ 'QUERY PLAN': { Plan: PlanNode }[] }>(
    `EXPLAIN (${options}, FORMAT JSON) EXECUTE ${prepared}${given}`,
  );
  return rows[0]['QUERY PLAN'][0].Plan;
}

/** Runs it for the sake of its plan, and takes back what it did. */
export async function explainAndRollBack(
  client: Client,
  prepared: string,
  values: readonly unknown[],
): Promise<PlanNode> {
  await client.query('BEGIN');
  try {
    return await explain(client, prepared, values, 'ANALYZE, BUFFERS, TIMING OFF');
  } finally {
    await client.query('ROLLBACK');
  }
}

export function nodesOf(plan: PlanNode): PlanNode[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];
}

/** The most that one node and those below it have touched: what nobody reads from, a stored batch, is no part of the top. */
export function buffersOf(plan: PlanNode): number {
  return Math.max(...nodesOf(plan).map((node) => (node['Shared Hit Blocks'] ?? 0) + (node['Shared Read Blocks'] ?? 0)));
}

/** What a plan does, without what it thinks that this costs: a line for each node. */
export function shapeOf(plan: PlanNode, depth = 0): string[] {
  const { Plans = [], ...node } = plan;
  const words = [node['Subplan Name'], node['Node Type'], node['Join Type'], node['Relation Name'], node['Index Name']];
  const line = [...words, node['Index Cond']].filter((word) => word !== undefined).join(' ');
  return [`${' '.repeat(depth)}${line}`, ...Plans.flatMap((child) => shapeOf(child, depth + 1))];
}

function literal(value: unknown): string {
  if (value === null) return 'NULL';
  if (Array.isArray(value)) return escapeLiteral(`{${value.map((item) => JSON.stringify(item)).join(',')}}`);
  return escapeLiteral(String(value));
}
