import { bulkSql } from './bulk.sql.js';
import { claimSql } from './claim.sql.js';
import { controlSql } from './control.sql.js';
import type { Statement } from './database.js';
import { enqueueSql } from './enqueue.sql.js';
import { expirySql } from './expiry.sql.js';
import { hintSql } from './hints.sql.js';
import { laneSql } from './lane.sql.js';
import { lookSql } from './look.sql.js';
import { queueSql } from './queue.sql.js';
import { rescueSql } from './rescue.sql.js';
import { resultSql } from './result.sql.js';
import { scheduleSql } from './schedule.sql.js';
import { settleSql } from './settle.sql.js';
import { taskSql } from './task.sql.js';
import { uniqueSql } from './unique.sql.js';
import { upkeepSql } from './upkeep.sql.js';
import { workerSql } from './worker.sql.js';

/**
 * Every statement that workers and producers send, by its name: one a store method, or a few.
 *
 * Rules that hold for all those of tasks: each names the queue, so that the tables can be distributed by it; each locks
 * rows in the order of their ids, so that opposed batches cannot deadlock; every value is a parameter.
 *
 * And no plan may depend on the table's statistics, which are always wrong for a queue. Rows of a batch are therefore
 * looped over in the sorted order of the input, and found by primary key and by nothing else: a condition by which the
 * planner could come from the other side (a worker, a queue) stands as `IS NOT DISTINCT FROM`, or comes from the input.
 */
export function statementTexts(schema: string) {
  return {
    ...enqueueSql(schema),
    ...uniqueSql(schema),
    ...claimSql(schema),
    ...settleSql(schema),
    ...workerSql(schema),
    ...rescueSql(schema),
    ...expirySql(schema),
    ...hintSql(schema),
    ...resultSql(schema),
    ...lookSql(schema),
    ...taskSql(schema),
    ...bulkSql(schema),
    ...queueSql(schema),
    ...controlSql(schema),
    ...laneSql(schema),
    ...scheduleSql(schema),
    ...upkeepSql(schema),
  };
}

export type StatementName = keyof ReturnType<typeof statementTexts>;
export type Statements = Readonly<Record<StatementName, Statement>>;

/** The same, each with the name under which a session keeps its plan. */
export function namedStatements(schema: string): Statements {
  const texts = Object.entries(statementTexts(schema));
  const named = texts.map(([name, text]): [string, Statement] => [name, { name: `backie_${name}`, text }]);
  return Object.fromEntries(named) as Statements;
}
