import { UnrecoverableTaskError } from '../errors/execution.errors.js';
import { type Backoff, backoffMs } from './backoff.js';
import type { SettledClaim } from './claim.js';
import { isInstance } from './is-instance.js';
import { encodeResult } from './payload.js';
import { keepMs, resultStaysMs, type Retention } from './retention.js';
import { storedError } from './stored-error.js';
import type { AttemptOutcome, ClaimedTask, FinishedState, TaskAttempt, TaskState } from './task.js';

/** How a claimed task goes on. Each names the claim that it ends, so that a stale one changes nothing. */
export type Settlement = SettledClaim &
  (
    | {
        readonly kind: 'finish';
        readonly state: FinishedState;
        /** For how many milliseconds the finished task stays: null when it does not, Infinity for ever. */
        readonly keepMs: number | null;
        readonly attempt: AttemptReport | null;
        /** JSON text of what the handler returned, for a done task that stays. */
        readonly result?: string;
        /** The queue under which a failed task stays, in place of its own. */
        readonly deadLetter?: string;
      }
    | { readonly kind: 'retry'; readonly delayMs: number; readonly attempt: AttemptReport }
    /** Back to its queue for later: the attempt counts, but uses up no retry. */
    | { readonly kind: 'snooze'; readonly delayMs: number; readonly attempt: AttemptReport }
    /** Back to its queue, as if this claim had never been: no attempt and no retry is used up. */
    | { readonly kind: 'release' }
  );

/**
 * What a worker reports of an attempt; the store adds the worker and the times. Of one that is done nothing is reported:
 * the task itself tells all of it.
 */
export type AttemptReport = Pick<TaskAttempt, 'number' | 'outcome' | 'error'>;

/** The state that a settlement asks for. */
export function stateAfter(settlement: Settlement): TaskState {
  return settlement.kind === 'finish' ? settlement.state : 'ready';
}

/** How an attempt ended. */
export type Outcome =
  /** With what the handler returned; `result` is that as JSON text, if it is to be stored. */
  | { readonly kind: 'returned'; readonly value?: unknown; readonly result?: string }
  /** The handler asked for another attempt later, and returned. */
  | { readonly kind: 'snoozed'; readonly delayMs: number }
  | { readonly kind: 'threw'; readonly error: unknown }
  | { readonly kind: 'timedOut'; readonly error: Error }
  | { readonly kind: 'cancelled'; readonly error: Error }
  /** The process shuts down, or the settlement lost against another transaction: the attempt does not count. */
  | { readonly kind: 'interrupted' }
  /** The lease is gone: there is nothing left to settle. */
  | { readonly kind: 'lost' }
  /** The attempt's own transaction has settled it. */
  | { readonly kind: 'committed'; readonly settlement: Settlement; readonly state: TaskState }
  /** The same, but the COMMIT was not answered: it may have settled nothing. */
  | { readonly kind: 'unanswered'; readonly settlement: Settlement };

/** What is left to be settled. */
export type OpenOutcome = Exclude<Outcome, { kind: 'lost' | 'committed' | 'unanswered' }>;

export interface SettlementRules {
  readonly maxRetries: number;
  readonly backoff: Backoff;
  readonly retention: Retention;
  /** As TaskDefinition says. */
  readonly keepResult?: boolean;
  readonly maxResultBytes?: number;
  readonly deadLetter?: string;
  /** A number in [0, 1), for the jitter. */
  readonly random: () => number;
}

/** Decides how a task goes on after an attempt. Pure: the caller applies it. */
export function settle(task: ClaimedTask, outcome: OpenOutcome, rules: SettlementRules): Settlement {
  const { id, queue, claimSeq } = task;
  // Spelt out: it is made for every task, and a spread takes longer than all the rest here.
  if (outcome.kind === 'returned') {
    const staysMs = keepEndMs(rules, 'done');
    const { result } = outcome;
    return { kind: 'finish', id, queue, claimSeq, state: 'done', keepMs: staysMs, attempt: null, result };
  }
  const claim = { id, queue, claimSeq };
  switch (outcome.kind) {
    case 'snoozed': {
      const attempt = { number: task.attempt, outcome: 'snoozed' } as const;
      return { ...claim, kind: 'snooze', delayMs: outcome.delayMs, attempt };
    }
    case 'interrupted':
      return { ...claim, kind: 'release' };
    case 'cancelled': {
      const attempt = report(task, 'cancelled', outcome.error);
      return { ...claim, kind: 'finish', state: 'cancelled', keepMs: keepMs(rules.retention, 'cancelled'), attempt };
    }
    case 'threw':
    case 'timedOut': {
      const attempt = report(task, outcome.kind === 'timedOut' ? 'timedOut' : 'failed', outcome.error);
      if (isInstance(outcome.error, UnrecoverableTaskError) || task.retries >= rules.maxRetries) {
        const { deadLetter } = rules;
        if (deadLetter === undefined) {
          return { ...claim, kind: 'finish', state: 'failed', keepMs: keepEndMs(rules, 'failed'), attempt };
        }
        return { ...claim, kind: 'finish', state: 'failed', keepMs: Infinity, attempt, deadLetter };
      }
      return { ...claim, kind: 'retry', delayMs: delay(task, outcome.error, rules), attempt };
    }
  }
}

/**
 * Encodes what a handler returned, if the task stays when it is done.
 *
 * @throws InvalidResultError when it cannot be stored.
 */
export function withResult(outcome: OpenOutcome, task: ClaimedTask, rules: SettlementRules): OpenOutcome {
  if (outcome.kind !== 'returned' || outcome.value === undefined) return outcome;
  if (!(rules.keepResult ?? keepMs(rules.retention, 'done') !== null)) return outcome;
  return { kind: 'returned', result: encodeResult(task.name, outcome.value, rules.maxResultBytes) };
}

/** A task that keeps its result stays for a while where its queue keeps none, so that whoever awaits it learns its end. */
function keepEndMs({ retention, keepResult }: SettlementRules, state: 'done' | 'failed'): number | null {
  const staysMs = keepMs(retention, state);
  return staysMs === null && keepResult === true ? resultStaysMs : staysMs;
}

function report(task: ClaimedTask, outcome: AttemptOutcome, error: unknown): AttemptReport {
  return { number: task.attempt, outcome, error: storedError(error) };
}

/** A backoff function of the user's that throws must not lose the task: it is then retried by the default. */
function delay(task: ClaimedTask, error: unknown, rules: SettlementRules): number {
  try {
    return backoffMs(rules.backoff, task.retries, error, rules.random);
  } catch {
    return backoffMs(() => Number.NaN, task.retries, error, rules.random);
  }
}
