import type { Settlement } from '../engine/task-store.js';
import type { TaskState } from '../engine/task.js';
import type { Run } from './database.js';
import type { Statements } from './statements.js';
import { keepValue, settlementsJson } from './task-input.js';
import { text } from './task-row.js';
import type { TextRow } from './text-query.js';

type SettleStatement = 'settleRemoved' | 'settleKept' | 'settle';

/** How many characters of results one statement carries, if it is more than one result. */
const maxResultsLength = 8 * 1024 * 1024;

/**
 * Applies settlements by as few statements as they take: on the engine's own connections, or in the transaction of an
 * attempt.
 *
 * @returns The state that each task is in now, by id. Ids that are missing are lost.
 */
export async function settleBy(
  run: Run,
  statements: Pick<Statements, SettleStatement>,
  workerId: string,
  settlements: readonly Settlement[],
): Promise<ReadonlyMap<string, TaskState>> {
  const settled = new Map<string, TaskState>();
  for (const [statement, own] of inStatements(settlements)) {
    if (statement === 'settle') {
      const rows = await run(statements.settle, [workerId, settlementsJson(own)]);
      for (const [id, state] of rows) settled.set(text(id), text(state) as TaskState);
    } else {
      const [row] = await run(statements[statement], [workerId, ...endedValues(statement, own)]);
      for (const id of endedIds(row, own)) settled.set(id, 'done');
    }
  }
  return settled;
}

function inStatements(settlements: readonly Settlement[]): [SettleStatement, readonly Settlement[]][] {
  return [...byStatement(settlements)].flatMap(([statement, own]) => {
    const parts = statement === 'settleKept' ? inParts(own) : [own];
    return parts.map((part): [SettleStatement, readonly Settlement[]] => [statement, part]);
  });
}

function byStatement(settlements: readonly Settlement[]): Map<SettleStatement, Settlement[]> {
  const groups = new Map<SettleStatement, Settlement[]>();
  for (const settlement of settlements) {
    const statement = statementOf(settlement);
    const group = groups.get(statement);
    if (group) group.push(settlement);
    else groups.set(statement, [settlement]);
  }
  return groups;
}

/** Most tasks simply end; what happens to the others is decided row by row. */
function statementOf(settlement: Settlement): SettleStatement {
  if (settlement.kind !== 'finish' || settlement.state !== 'done' || settlement.attempt) return 'settle';
  return settlement.keepMs === null ? 'settleRemoved' : 'settleKept';
}

function inParts(settlements: readonly Settlement[]): (readonly Settlement[])[] {
  const parts: Settlement[][] = [[]];
  let length = 0;
  for (const settlement of settlements) {
    const own = resultOf(settlement)?.length ?? 0;
    if (length > 0 && length + own > maxResultsLength) {
      parts.push([]);
      length = 0;
    }
    parts.at(-1)?.push(settlement);
    length += own;
  }
  return parts;
}

/** The input of those by which tasks simply end. */
function endedValues(statement: 'settleRemoved' | 'settleKept', settlements: readonly Settlement[]): unknown[] {
  const values: unknown[] = [
    settlements.map(({ id }) => id),
    settlements.map(({ queue }) => queue),
    settlements.map(({ claimSeq }) => String(claimSeq)),
  ];
  if (statement === 'settleKept') {
    values.push(settlements.map((settlement) => keepValue(settlement.kind === 'finish' ? settlement.keepMs : null)));
    values.push(settlements.map((settlement) => resultOf(settlement) ?? null));
  }
  return values;
}

/** @param row What `settleRemoved` and `settleKept` answer. */
function endedIds(row: TextRow | undefined, settlements: readonly Settlement[]): readonly string[] {
  if (!row) throw new Error('The statement that settles tasks has not said which of them have ended.');
  const [only] = row;
  return only == null ? settlements.map(({ id }) => id) : (JSON.parse(only) as string[]);
}

function resultOf(settlement: Settlement): string | undefined {
  return settlement.kind === 'finish' ? settlement.result : undefined;
}
