import type { Statement } from './database.js';
import type { Statements } from './statements.js';

/** Those by which a chunk of tasks is stored, and the rest of its keys sorted out. */
export interface EnqueueStatements {
  readonly enqueue: Statement;
  readonly enqueueReplacing: Statement;
  readonly enqueueInWindow: Statement;
  readonly holders: Statement;
  readonly windowHolders: Statement;
  readonly freeExpired: Statement;
}

export type ProducerStatements = Pick<
  Statements,
  | keyof EnqueueStatements
  | 'enqueueFresh'
  | 'enqueueBulk'
  | 'enqueueQuietly'
  | 'enqueueOne'
  | 'flush'
  | 'enqueueUnique'
  | 'enqueueReplacingSoon'
  | 'enqueueInWindowSoon'
  | 'takeBack'
  | 'notify'
>;

/** For ids that may be there, and keys whose holders may take their time. */
export function generalStatements(all: ProducerStatements): EnqueueStatements {
  const { enqueue, enqueueReplacing, enqueueInWindow, holders, windowHolders, freeExpired } = all;
  return { enqueue, enqueueReplacing, enqueueInWindow, holders, windowHolders, freeExpired };
}

/** The same, but whoever has to wait for another transaction fails soon. */
export function impatientStatements(all: ProducerStatements): EnqueueStatements {
  return {
    ...generalStatements(all),
    enqueue: all.enqueueUnique,
    enqueueReplacing: all.enqueueReplacingSoon,
    enqueueInWindow: all.enqueueInWindowSoon,
  };
}

/** The same for ids that are new and keys that are none: one that is there after all fails. */
export function freshStatements(all: ProducerStatements): EnqueueStatements {
  return { ...generalStatements(all), enqueue: all.enqueueFresh };
}
