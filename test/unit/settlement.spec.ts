import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Backoff } from '../../lib/engine/backoff.js';
import { type OpenOutcome, settle, type SettlementRules, withResult } from '../../lib/engine/settlement.js';
import type { RetentionMode } from '../../lib/engine/retention.js';
import type { FinishedState } from '../../lib/engine/task.js';
import {
  LeaseLostError,
  TaskCancelledError,
  TaskTimeoutError,
  UnrecoverableTaskError,
} from '../../lib/errors/execution.errors.js';
import { InvalidResultError } from '../../lib/errors/result.errors.js';
import { claimedTask } from './engine.fixtures.js';

type Settled = OpenOutcome;

class NoSuchUserError extends UnrecoverableTaskError {}

const timeout = new TaskTimeoutError('work', 1_000);
const cancel = new TaskCancelledError('work', 'id');
const retentions: readonly RetentionMode[] = ['keepAll', 'removeAll', 'removeDone'];
const kept: Record<RetentionMode, Record<FinishedState, boolean>> = {
  keepAll: { done: true, failed: true, cancelled: true },
  removeAll: { done: false, failed: false, cancelled: false },
  removeDone: { done: false, failed: true, cancelled: true },
};

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable(new Error('gone'), {});
  revoke();
  return proxy;
}

function rules(fields: Partial<SettlementRules> = {}): SettlementRules {
  return { maxRetries: 3, backoff: Backoff.linear(1_000), retention: 'removeDone', random: () => 0, ...fields };
}

describe('a settlement', () => {
  /** Outcome, retries so far of at most 3, what follows, how the attempt is recorded. */
  const table: [string, Settled, number, 'retry' | 'release' | 'snooze' | FinishedState, string | null][] = [
    ['snoozed', { kind: 'snoozed', delayMs: 5 }, 0, 'snooze', 'snoozed'],
    ['snoozed', { kind: 'snoozed', delayMs: 5 }, 3, 'snooze', 'snoozed'],
    ['returned', { kind: 'returned' }, 0, 'done', null],
    ['returned', { kind: 'returned' }, 3, 'done', null],
    ['interrupted', { kind: 'interrupted' }, 0, 'release', null],
    ['interrupted', { kind: 'interrupted' }, 3, 'release', null],
    ['cancelled', { kind: 'cancelled', error: cancel }, 0, 'cancelled', 'cancelled'],
    ['cancelled', { kind: 'cancelled', error: cancel }, 3, 'cancelled', 'cancelled'],
    ['threw an Error', { kind: 'threw', error: new Error('no') }, 0, 'retry', 'failed'],
    ['threw an Error', { kind: 'threw', error: new Error('no') }, 2, 'retry', 'failed'],
    ['threw an Error', { kind: 'threw', error: new Error('no') }, 3, 'failed', 'failed'],
    ['threw an Error', { kind: 'threw', error: new Error('no') }, 9, 'failed', 'failed'],
    ['threw undefined', { kind: 'threw', error: undefined }, 2, 'retry', 'failed'],
    ['threw undefined', { kind: 'threw', error: undefined }, 3, 'failed', 'failed'],
    ['threw a revoked proxy', { kind: 'threw', error: revoked() }, 2, 'retry', 'failed'],
    ['threw a revoked proxy', { kind: 'threw', error: revoked() }, 3, 'failed', 'failed'],
    ['threw a LeaseLostError', { kind: 'threw', error: new LeaseLostError('work', 'id') }, 0, 'retry', 'failed'],
    ['was unrecoverable', { kind: 'threw', error: new UnrecoverableTaskError('no') }, 0, 'failed', 'failed'],
    ['was unrecoverable', { kind: 'threw', error: new NoSuchUserError('no') }, 2, 'failed', 'failed'],
    ['timed out', { kind: 'timedOut', error: timeout }, 2, 'retry', 'timedOut'],
    ['timed out', { kind: 'timedOut', error: timeout }, 3, 'failed', 'timedOut'],
  ];
  const rows = table.flatMap(([title, outcome, retries, follows, recorded]) =>
    retentions.map((retention) => ({ title, outcome, retries, follows, recorded, retention })),
  );

  it.each(rows)('when the attempt $title after $retries of 3 retries: $follows, $retention', (row) => {
    const task = claimedTask({ retries: row.retries, attempt: 5, claimSeq: 8 });
    const settlement = settle(task, row.outcome, rules({ retention: row.retention }));
    expect(settlement).toMatchObject({ id: task.id, queue: task.queue, claimSeq: 8 });
    switch (settlement.kind) {
      case 'release':
        expect(row.follows).toBe('release');
        break;
      case 'snooze':
        expect(row.follows).toBe('snooze');
        expect(settlement.delayMs).toBe(5);
        expect(settlement.attempt).toEqual({ number: 5, outcome: row.recorded });
        break;
      case 'retry':
        expect(row.follows).toBe('retry');
        expect(settlement.delayMs).toBe((row.retries + 1) * 1_000);
        expect(settlement.attempt).toMatchObject({ number: 5, outcome: row.recorded });
        break;
      case 'finish':
        expect(row.follows).toBe(settlement.state);
        expect(settlement.keepMs).toBe(kept[row.retention][settlement.state] ? Infinity : null);
        expect(settlement.attempt?.outcome ?? null).toBe(row.recorded);
    }
  });

  it('says for how long the task stays, by the state in which it ends', () => {
    const retention = { done: 5_000, failed: 'none', cancelled: 7_000 } as const;
    const keepMs = (ended: Settled, how: SettlementRules['retention']) => {
      const settlement = settle(claimedTask({ retries: 3 }), ended, rules({ retention: how }));
      return settlement.kind === 'finish' ? settlement.keepMs : undefined;
    };
    const endings: Settled[] = [
      { kind: 'returned' },
      { kind: 'threw', error: new Error('no') },
      { kind: 'cancelled', error: cancel },
    ];
    expect(endings.map((one) => keepMs(one, retention))).toEqual([5_000, null, 7_000]);
    expect(endings.map((one) => keepMs(one, {}))).toEqual([null, Infinity, Infinity]);
    expect(endings.map((one) => keepMs(one, { done: 'forever' }))).toEqual([Infinity, Infinity, Infinity]);
  });

  describe('of a task that keeps its result', () => {
    const circular: { self?: unknown } = {};
    circular.self = circular;
    const after = (value: unknown, fields: Partial<SettlementRules> = {}) => {
      const [task, how] = [claimedTask(), rules({ keepResult: true, ...fields })];
      return settle(task, withResult({ kind: 'returned', value }, task, how), how);
    };

    it('stays a day with it where its queue keeps no done task, else as long as the queue says', () => {
      const done = { kind: 'finish', state: 'done', result: '{"a":1}', attempt: null };
      for (const retention of ['removeDone', 'removeAll'] as const) {
        expect(after({ a: 1 }, { retention })).toMatchObject({ ...done, keepMs: 86_400_000 });
      }
      expect(after({ a: 1 }, { retention: 'keepAll' })).toMatchObject({ ...done, keepMs: Infinity });
      expect(after({ a: 1 }, { retention: { done: 5_000 } })).toMatchObject({ ...done, keepMs: 5_000 });
      expect(after({ a: 1 }, { retention: { done: 5_000 }, keepResult: undefined })).toMatchObject(done);
      expect(after(null)).toMatchObject({ ...done, result: 'null' });
    });

    it('has none when nothing was returned, or when it is told to have none', () => {
      expect(after(undefined)).toMatchObject({ state: 'done', keepMs: 86_400_000, result: undefined });
      expect(after(1, { keepResult: false, retention: 'keepAll' })).toMatchObject({
        state: 'done',
        keepMs: Infinity,
        result: undefined,
      });
      expect(after(circular, { keepResult: undefined })).toMatchObject({ state: 'done', keepMs: null });
    });

    it.each([
      ['circular', circular, /circular/i],
      ['a BigInt', 1n, /BigInt/],
      ['a function', () => {}, /function/],
      ['not finite', { a: Number.NaN }, /NaN/],
      ['too large', 'x'.repeat(1_000), /takes 1002 bytes, the limit is 100/],
    ])('fails without a retry when that is %s', (_, value, message) => {
      const how = rules({ keepResult: true, maxResultBytes: 100 });
      const encode = () => withResult({ kind: 'returned', value }, claimedTask(), how);
      expect(encode).toThrow(InvalidResultError);
      expect(encode).toThrow(message);
      const settlement = settle(claimedTask(), { kind: 'threw', error: new InvalidResultError('work', 'no') }, how);
      expect(settlement).toMatchObject({ state: 'failed', attempt: { error: { name: 'InvalidResultError' } } });
    });

    it('stays a day when it fails, too, so that whoever awaits it learns of that', () => {
      const how = rules({ keepResult: true, retention: 'removeAll', maxRetries: 0 });
      expect(settle(claimedTask(), { kind: 'threw', error: 1 }, how)).toMatchObject({ keepMs: 86_400_000 });
    });
  });

  it('of a task with a queue of dead letters names it once no retry is left, and stays for ever', () => {
    const how = rules({ deadLetter: 'dead', retention: 'removeAll', maxRetries: 1 });
    const threw = { kind: 'threw', error: new Error('no') } as const;
    expect(settle(claimedTask({ retries: 1 }), threw, how)).toMatchObject({ deadLetter: 'dead', keepMs: Infinity });
    expect(settle(claimedTask(), threw, how)).not.toHaveProperty('deadLetter');
    expect(settle(claimedTask(), { kind: 'cancelled', error: cancel }, how)).not.toHaveProperty('deadLetter');
    expect(settle(claimedTask(), { kind: 'returned' }, how)).not.toHaveProperty('deadLetter');
  });

  it('records the error of the attempt', () => {
    const settlement = settle(claimedTask(), { kind: 'threw', error: new TypeError('no') }, rules());
    expect(settlement).toMatchObject({ attempt: { error: { name: 'TypeError', message: 'no' } } });
  });

  const outcome = fc.oneof<fc.Arbitrary<Settled>[]>(
    fc.constant({ kind: 'returned' }),
    fc.constant({ kind: 'interrupted' }),
    fc.constant({ kind: 'cancelled', error: cancel }),
    fc.constant({ kind: 'timedOut', error: timeout }),
    fc.anything().map((error) => ({ kind: 'threw', error })),
    fc.constantFrom(new Error('a'), new NoSuchUserError('b')).map((error) => ({ kind: 'threw', error })),
  );

  it('is of exactly one kind; a release uses up nothing, an unrecoverable error never retries', () => {
    const retries = fc.nat(6);
    fc.assert(
      fc.property(outcome, retries, retries, fc.constantFrom(...retentions), (ended, soFar, maxRetries, retention) => {
        const task = claimedTask({ retries: soFar });
        const settlement = settle(task, ended, rules({ maxRetries, retention }));
        const mayRetry =
          (ended.kind === 'threw' || ended.kind === 'timedOut') &&
          !(ended.error instanceof UnrecoverableTaskError) &&
          soFar < maxRetries;
        expect(settlement.kind === 'retry').toBe(mayRetry);
        expect(settlement.kind === 'release').toBe(ended.kind === 'interrupted');
        if (settlement.kind === 'release') {
          expect(settlement).toEqual({ kind: 'release', id: task.id, queue: task.queue, claimSeq: task.claimSeq });
        }
        if (settlement.kind === 'finish') {
          expect(settlement.state === 'done').toBe(ended.kind === 'returned');
          expect(settlement.keepMs).toBe(kept[retention][settlement.state] ? Infinity : null);
        }
      }),
    );
  });

  it('waits a whole number of milliseconds whatever a backoff function returns or throws', () => {
    const backoffs = fc.oneof(
      fc.func(fc.anything({ withBigInt: true })),
      fc.anything().map((error) => () => {
        throw error;
      }),
    ) as fc.Arbitrary<Backoff>;
    fc.assert(
      fc.property(backoffs, (backoff) => {
        const settlement = settle(claimedTask(), { kind: 'threw', error: 'no' }, rules({ backoff }));
        expect(settlement.kind).toBe('retry');
        expect(settlement.kind === 'retry' && Number.isInteger(settlement.delayMs) && settlement.delayMs >= 0).toBe(
          true,
        );
      }),
    );
  });

  it('waits as long as the default backoff when a backoff function throws', () => {
    const backoff = () => {
      throw new Error('no');
    };
    const settlement = settle(claimedTask({ retries: 1 }), { kind: 'threw', error: 'no' }, rules({ backoff }));
    expect(settlement).toMatchObject({ kind: 'retry', delayMs: 4_000 });
  });
});
