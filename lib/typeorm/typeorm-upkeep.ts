import type { PruneReport, PruneRequest } from '../engine/upkeep.js';
import type { Run, Statement } from './database.js';
import { quoteSchema } from './identifiers.js';
import { dayMs, missing, over, type Partition, readPartition } from './partitions.js';
import { isBusy, isCancelled, isNotPermitted, isPlaceTaken } from './postgres-errors.js';
import { text } from './task-row.js';
import { prunedRows, type upkeepSql } from './upkeep.sql.js';

type UpkeepStatements = Readonly<Record<keyof ReturnType<typeof upkeepSql>, Statement>>;

/**
 * Whoever changes the partitions locks the table of finished tasks for a moment: all of it to drop one, its default
 * partition to make one. Who waits for such a lock makes others wait in turn, the writes of finished tasks among them,
 * so none is waited for longer than this; if it is not to be had, it is tried again later. So are changes that take long.
 */
const lockTimeoutMs = 100;
const changeTimeoutMs = 1_000;
/** Partitions are made so far ahead of their need; the one who has the day's work makes some more. */
const leastAheadMs = dayMs;
const aheadMs = 4 * dayMs;
const rowsLimit = 1_000;
/**
 * To make a partition PostgreSQL reads all of the default one, while nobody writes there. When that took too long it is
 * tried again after this: nothing is lost meanwhile, what would go to the partition goes to the default one.
 */
const afterTooLongMs = 3_600_000;

/** Says that a job is still being done; resolves to false when it is to be left, or somebody else has taken it over. */
type GoOn = () => Promise<boolean>;

/**
 * Removes finished tasks whose time is over. Two jobs of a day, each done by one process: 'partitions' makes and drops
 * whole days and needs the right to; 'rows' deletes what is left in the default partition, and what else goes by rows.
 */
export class TypeOrmUpkeep {
  private readonly schema: string;
  private readonly table: string;
  /** Monotonic milliseconds before which no partition is made. */
  private makeAfter = -Infinity;

  constructor(
    private readonly statements: UpkeepStatements,
    private readonly run: Run,
    /** Runs in one transaction. */
    private readonly transaction: <Result>(work: (run: Run) => Promise<Result>) => Promise<Result>,
    schema: string,
  ) {
    this.schema = quoteSchema(schema);
    this.table = `${this.schema}."finished_task"`;
  }

  async prune(request: PruneRequest): Promise<PruneReport> {
    const [row = []] = await this.run(this.statements.upkeepLook, [this.table]);
    const changes = new Changes(Number(row[0]), readPartitions(row[2]), row[1] === 't');
    if (changes.permitted) {
      await this.asOne('partitions', request, (goOn) => this.change(changes, request, goOn));
      // Without waiting for the day's work: what is configured here may be new.
      await this.make(changes, request, leastAheadMs, async () => true);
    }
    let deleted = 0;
    await this.asOne('rows', request, async (goOn) => {
      for (const name of prunedRows) {
        for (let found = rowsLimit; found === rowsLimit && (await goOn());) {
          found = (await this.run(this.statements[name], [rowsLimit])).length;
          deleted += found;
        }
      }
      return !request.signal.aborted;
    });
    const { dropped, busy } = changes;
    const weakened = needed(changes, request) ? this.unable() : changes.tooLong ? this.tooLong() : undefined;
    return { dropped, deleted, unfinished: busy.size > 0, ...(weakened !== undefined && { weakened }) };
  }

  /** Does a job of the day if nobody else does, and writes down that it is done when `work` says so. */
  private async asOne(
    job: string,
    { holder, staleMs, signal }: PruneRequest,
    work: (goOn: GoOn) => Promise<boolean>,
  ): Promise<void> {
    if (signal.aborted) return;
    const [taken] = await this.run(this.statements.upkeepTake, [job, holder, staleMs]);
    if (!taken) return;
    const values = [taken[0], job, holder];
    const goOn = async () => !signal.aborted && (await this.run(this.statements.upkeepGoOn, values)).length > 0;
    if (await work(goOn)) await this.run(this.statements.upkeepFinish, values);
  }

  private async change(changes: Changes, request: PruneRequest, goOn: GoOn): Promise<boolean> {
    for (const partition of over(changes.partitions, changes.now)) {
      if (!(await goOn())) return false;
      if (changes.may('drop', request)) await this.drop(changes, partition);
    }
    if (!(await this.make(changes, request, aheadMs, goOn))) return false;
    return changes.may('drop', request) && changes.may('make', request);
  }

  /** @returns False when somebody else has taken the job over. */
  private async make(changes: Changes, request: PruneRequest, ahead: number, goOn: GoOn): Promise<boolean> {
    for (const partition of missing(changes.partitions, changes.now, request.keepMs, ahead)) {
      if (!changes.may('make', request) || performance.now() < this.makeAfter) break;
      if (!(await goOn())) return false;
      const { name, from, to } = partition;
      const place = `${this.schema}."${name}"`;
      await changes.attempt('make', partition, () =>
        this.transaction(async (run) => {
          await limitLocks(run);
          // Attached later, it needs no lock that readers or writers of the other partitions would wait for.
          await run(once(`CREATE TABLE ${place} (LIKE ${this.table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`), []);
          const range = `FROM ('${new Date(from).toISOString()}') TO ('${new Date(to).toISOString()}')`;
          await run(once(`ALTER TABLE ${this.table} ATTACH PARTITION ${place} FOR VALUES ${range}`), []);
        }),
      );
      if (changes.tooLong) this.makeAfter = performance.now() + afterTooLongMs;
    }
    return true;
  }

  private async drop(changes: Changes, partition: Partition): Promise<void> {
    const { name, from, to } = partition;
    const place = `${this.schema}."${name}"`;
    await changes.attempt('drop', partition, () =>
      this.transaction(async (run) => {
        await limitLocks(run);
        // A name may lie, and what is dropped is gone.
        if ((await run(this.statements.upkeepBounded, [place, from, to])).length === 0) return;
        await run(once(`DROP TABLE ${place}`), []);
        changes.dropped.push(name);
      }),
    );
  }

  private unable(): string {
    return (
      `Our role may not make and drop partitions of ${this.table}: finished tasks whose time is over are deleted row by ` +
      `row instead. Give it the ownership of that table and CREATE on its schema, or let a process work that has them.`
    );
  }

  private tooLong(): string {
    return (
      `${this.schema}."finished_task_default" holds so much that a partition of ${this.table} could not be made in ` +
      `${changeTimeoutMs} ms: what would go there goes to the default one too, and is deleted row by row. It is tried ` +
      `again each hour; give what fills the default partition a shorter retention, or remove it.`
    );
  }
}

type Change = 'drop' | 'make';

/** The partitions as one look found them, and what it changes. */
class Changes {
  readonly dropped: string[] = [];
  /** Of what somebody was in the way. */
  readonly busy = new Set<Change>();
  /** To make one took longer than anybody should wait for it. */
  tooLong = false;

  constructor(
    readonly now: number,
    readonly partitions: Partition[],
    public permitted: boolean,
  ) {}

  /** Who is in the way of one is in the way of all of its kind, and each try makes others wait. */
  may(change: Change, { signal }: PruneRequest): boolean {
    return this.permitted && !this.busy.has(change) && !signal.aborted;
  }

  /** Whether it could be done or not, it is not tried again in this look. */
  async attempt(change: Change, partition: Partition, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (change === 'make' && isCancelled(error)) this.tooLong = true;
      else if (isBusy(error)) this.busy.add(change);
      else if (isNotPermitted(error)) this.permitted = false;
      // Another process has made it, one of other bounds is in its place, or rows of its days are in the default one.
      else if (!isPlaceTaken(error)) throw error;
    }
    this.partitions.push(partition);
  }
}

/** Whether there is something for partitions that our role may not make or drop. */
function needed({ permitted, partitions, now }: Changes, { keepMs }: PruneRequest): boolean {
  return !permitted && (keepMs.length > 0 || over(partitions, now).length > 0);
}

function readPartitions(names: string | null | undefined): Partition[] {
  const all = text(names).split(',').map(readPartition);
  return all.filter((partition) => partition !== null);
}

async function limitLocks(run: Run): Promise<void> {
  const limits = `set_config('lock_timeout', '${lockTimeoutMs}', true), set_config('statement_timeout', '${changeTimeoutMs}', true)`;
  await run(once(`SELECT ${limits}`), []);
}

/** A statement that is not worth a name. */
function once(sqlText: string): Statement {
  return { name: '', text: sqlText };
}
