import type { Lane, PausedLane } from '../engine/lane.js';
import { LaneStore } from '../engine/lane-store.js';
import type { Run, Statement } from './database.js';
import type { laneSql } from './lane.sql.js';
import { text } from './task-row.js';
import type { TextRow } from './text-query.js';

type LaneStatements = Readonly<Record<keyof ReturnType<typeof laneSql>, Statement>>;

/** One statement holds the locks of all its lanes until it has finished. */
const mostAtOnce = 50;
/** How many lanes in which tasks wait one sweep looks at. */
const sweepLimit = 1_000;
const beginning = ['', '', ''];

/** Concurrency keys in PostgreSQL, beside the tasks. */
export class TypeOrmLaneStore extends LaneStore {
  /** The lane at which the latest sweep ended. */
  private sweptTo: readonly string[] = beginning;

  constructor(
    private readonly statements: LaneStatements,
    private readonly run: Run,
    /** Told of queues on which tasks got their place, and in how many milliseconds the first of them is due. */
    private readonly admitted: (queue: string, inMs: number) => void,
  ) {
    super();
  }

  async admit(lanes: readonly Lane[]): Promise<void> {
    for (let first = 0; first < lanes.length; first += mostAtOnce) {
      const some = lanes.slice(first, first + mostAtOnce);
      const columns = [some.map(({ queue }) => queue), some.map(({ name }) => name), some.map(({ key }) => key)];
      for (let more = true; more;) {
        more = false;
        for (const [queue, inMs, again] of await this.run(this.statements.laneAdmit, columns)) {
          if (queue != null) this.admitted(queue, Number(inMs));
          more ||= again === 't';
        }
      }
    }
  }

  /** For whoever has already done what was asked of it: what cannot be admitted now is left to a sweep. */
  async tryToAdmit(lanes: readonly Lane[]): Promise<void> {
    await this.admit(lanes).catch(() => {});
  }

  async sweep(): Promise<void> {
    const lanes = await this.run(this.statements.laneSweep, [...this.sweptTo, sweepLimit]);
    const waiting = lanes.filter(([, , , , place]) => place != null);
    const last = waiting.length < sweepLimit ? undefined : waiting.at(-1);
    this.sweptTo = last ? last.slice(0, 3).map(text) : beginning;
    await this.admit(lanes.filter(([, , , admit]) => admit === 't').map(laneOfRow));
  }

  async pause(lane: Lane): Promise<void> {
    await this.run(this.statements.lanePause, [lane.queue, lane.name, lane.key]);
    // Those that admit beside this may not have seen the pause; now they have finished, or will see it.
    await this.admit([lane]);
  }

  async resume(lane: Lane): Promise<void> {
    await this.run(this.statements.laneResume, [lane.queue, lane.name, lane.key]);
    await this.admit([lane]);
  }

  async paused(): Promise<readonly PausedLane[]> {
    const rows = await this.run(this.statements.lanePaused, []);
    return rows.map((row) => ({ ...laneOfRow(row), pausedAt: new Date(Number(row[3])) }));
  }
}

function laneOfRow([queue, name, key]: TextRow): Lane {
  return { queue: text(queue), name: text(name), key: text(key) };
}
