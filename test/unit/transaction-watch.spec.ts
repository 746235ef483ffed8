import fc from 'fast-check';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { describe, expect, it } from 'vitest';
import { TransactionWatch } from '../../lib/typeorm/transaction-watch.js';

interface Subscriber {
  afterTransactionCommit?(event: { queryRunner: QueryRunner }): void;
  afterTransactionRollback?(event: { queryRunner: QueryRunner }): void;
}

class FakeDataSource {
  readonly subscribers: Subscriber[] = [];
  manager(): FakeManager {
    return new FakeManager(this);
  }
}

/** Counts transactions and savepoints, and tells the subscribers, as TypeORM's PostgresQueryRunner does. */
class FakeRunner {
  isTransactionActive = false;
  transactionDepth = 0;

  constructor(private readonly dataSource: FakeDataSource) {}

  begin(): void {
    this.isTransactionActive = true;
    this.transactionDepth++;
  }

  commit(): void {
    this.leave();
    for (const one of this.dataSource.subscribers) one.afterTransactionCommit?.(this.event());
  }

  rollback(): void {
    this.leave();
    for (const one of this.dataSource.subscribers) one.afterTransactionRollback?.(this.event());
  }

  private leave(): void {
    if (this.transactionDepth === 1) this.isTransactionActive = false;
    this.transactionDepth--;
  }

  private event() {
    return { queryRunner: this as unknown as QueryRunner };
  }
}

class FakeManager {
  readonly queryRunner: FakeRunner;
  constructor(readonly dataSource: FakeDataSource) {
    this.queryRunner = new FakeRunner(dataSource);
  }
}

function setUp() {
  const watch = new TransactionWatch();
  const dataSource = new FakeDataSource();
  const manager = dataSource.manager();
  const ran: string[] = [];
  const after = (name: string, of: FakeManager = manager) =>
    watch.afterCommit(of as unknown as EntityManager, () => ran.push(name));
  return { watch, dataSource, manager, runner: manager.queryRunner, ran, after };
}

describe('an effect after a commit', () => {
  it('runs at once without a transaction', () => {
    const { watch, ran, after, dataSource } = setUp();
    after('a');
    watch.afterCommit({ dataSource: dataSource as unknown as DataSource } as EntityManager, () => ran.push('b'));
    expect(ran).toEqual(['a', 'b']);
    expect(dataSource.subscribers).toEqual([]);
  });

  it('runs once the transaction has committed, once, in order', () => {
    const { runner, ran, after } = setUp();
    runner.begin();
    after('a');
    after('b');
    expect(ran).toEqual([]);
    runner.commit();
    expect(ran).toEqual(['a', 'b']);
    runner.begin();
    runner.commit();
    expect(ran).toEqual(['a', 'b']);
  });

  it('never runs when the transaction rolls back, also not with the next one', () => {
    const { runner, ran, after } = setUp();
    runner.begin();
    after('a');
    runner.rollback();
    runner.begin();
    after('b');
    runner.commit();
    expect(ran).toEqual(['b']);
  });

  it('waits for the transaction when its savepoint is released', () => {
    const { runner, ran, after } = setUp();
    runner.begin();
    runner.begin();
    after('inner');
    runner.commit();
    expect(ran).toEqual([]);
    runner.commit();
    expect(ran).toEqual(['inner']);
  });

  it('goes with its savepoint, not with the ones beside it', () => {
    const { runner, ran, after } = setUp();
    runner.begin();
    after('outer');
    runner.begin();
    after('rolled back');
    runner.rollback();
    runner.begin();
    after('released');
    runner.commit();
    runner.begin();
    runner.rollback();
    runner.commit();
    expect(ran).toEqual(['outer', 'released']);
  });

  it('goes with the savepoint around its own released one', () => {
    const { runner, ran, after } = setUp();
    runner.begin();
    runner.begin();
    runner.begin();
    after('innermost');
    runner.commit();
    runner.rollback();
    runner.commit();
    expect(ran).toEqual([]);
  });

  it('is told apart from those of other transactions', () => {
    const { dataSource, runner, ran, after } = setUp();
    const other = dataSource.manager();
    runner.begin();
    other.queryRunner.begin();
    after('mine');
    after('theirs', other);
    other.queryRunner.commit();
    expect(ran).toEqual(['theirs']);
    runner.rollback();
    expect(ran).toEqual(['theirs']);
  });

  it('adds one subscriber to a DataSource, and takes it away when it stops', () => {
    const { watch, dataSource, runner, after } = setUp();
    const theirs: Subscriber = {};
    dataSource.subscribers.push(theirs);
    runner.begin();
    after('a');
    after('b');
    expect(dataSource.subscribers).toEqual([theirs, watch]);
    watch.stop();
    watch.stop();
    expect(dataSource.subscribers).toEqual([theirs]);
  });

  it('runs exactly when every level around it has committed', () => {
    const step = fc.constantFrom('begin', 'commit', 'rollback', 'effect');
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { runner, ran, after } = setUp();
        /** The model: a stack of levels, each with the effects that go with it. */
        const levels: string[][] = [];
        const expected: string[] = [];
        for (const [i, step] of steps.entries()) {
          if (step === 'begin') {
            runner.begin();
            levels.push([]);
          } else if (step === 'effect') {
            after(`effect ${i}`);
            (levels.at(-1) ?? expected).push(`effect ${i}`);
          } else if (levels.length > 0) {
            const effects = levels.pop()!;
            runner[step as 'commit' | 'rollback']();
            if (step === 'commit') (levels.at(-1) ?? expected).push(...effects);
          }
          expect(ran).toEqual(expected);
        }
      }),
    );
  });
});
