import type { DataSource, EntityManager, EntitySubscriberInterface, QueryRunner } from 'typeorm';

interface Effect {
  /** How many transactions and savepoints were open around it. */
  depth: number;
  readonly run: () => void;
}

/**
 * Runs effects once a caller's transaction has committed, never when it, or the savepoint around them, rolls back.
 * TypeORM tells its subscribers, so one is added to the caller's DataSource when it is first needed.
 */
export class TransactionWatch implements EntitySubscriberInterface {
  private readonly effects = new WeakMap<QueryRunner, Effect[]>();
  private readonly watched = new Set<DataSource>();

  afterCommit(manager: EntityManager, effect: () => void): void {
    const runner = manager.queryRunner;
    if (!runner?.isTransactionActive) return effect();
    if (!this.watched.has(manager.dataSource)) {
      this.watched.add(manager.dataSource);
      manager.dataSource.subscribers.push(this);
    }
    const effects = this.effects.get(runner);
    const entry = { depth: depthOf(runner), run: effect };
    if (effects) effects.push(entry);
    else this.effects.set(runner, [entry]);
  }

  /** TypeORM says so after a released savepoint too: its effects then belong to the level around it. */
  afterTransactionCommit({ queryRunner }: { queryRunner: QueryRunner }): void {
    const effects = this.effects.get(queryRunner) ?? [];
    if (queryRunner.isTransactionActive) {
      for (const effect of effects) effect.depth = Math.min(effect.depth, depthOf(queryRunner));
    } else {
      this.effects.delete(queryRunner);
      for (const effect of effects) effect.run();
    }
  }

  afterTransactionRollback({ queryRunner }: { queryRunner: QueryRunner }): void {
    const effects = this.effects.get(queryRunner);
    if (!effects) return;
    if (!queryRunner.isTransactionActive) this.effects.delete(queryRunner);
    else
      this.effects.set(
        queryRunner,
        effects.filter(({ depth }) => depth <= depthOf(queryRunner)),
      );
  }

  /** Leaves the callers' DataSources as they were. */
  stop(): void {
    for (const { subscribers } of this.watched) {
      const index = subscribers.indexOf(this);
      if (index >= 0) subscribers.splice(index, 1);
    }
    this.watched.clear();
  }
}

/** TypeORM counts the open transaction and its savepoints, but does not publish the count. */
export function depthOf(runner: QueryRunner): number {
  return (runner as unknown as { transactionDepth?: number }).transactionDepth ?? 1;
}
