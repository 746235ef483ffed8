import { GroupCommit } from './group-commit.js';
import { jittered } from './jitter.js';
import { type Lane, laneId, laneOf } from './lane.js';
import { PacedLoop } from './paced-loop.js';
import type { ClaimedTask } from './task.js';
import type { TaskStore } from './task-store.js';

/** One statement holds all its lanes until it has finished: more lanes would keep each other waiting. */
const maxBatch = 50;

/**
 * Has the next task of a lane admitted when one of this process has been settled, apart from the settlements, for which
 * other tasks wait. What is forgotten, since a process died or the database was away, is found by the sweep that every
 * process makes now and then.
 */
export class LaneKeeper {
  private readonly commits: GroupCommit<Lane, void>;
  private readonly waiting = new Set<string>();
  private readonly sweeps = new PacedLoop(() => this.sweep());

  constructor(
    private readonly store: TaskStore,
    private readonly sweepEveryMs: number,
    private readonly failed: (doing: string, error: unknown) => void,
  ) {
    const send = async (lanes: readonly Lane[]) => {
      // Those that end from now on need another look.
      for (const lane of lanes) this.waiting.delete(laneId(lane));
      await store.lanes.admit(lanes);
      return lanes.map(() => {});
    };
    this.commits = new GroupCommit(send, {
      maxBatch,
      maxUnderWay: 1,
      divisible: () => false,
      resolve: () => {},
      reject: (_, error) => this.failed('admit the next tasks of a concurrency key', error),
    });
  }

  /** This task was settled; most have no lane. */
  settled(task: ClaimedTask): void {
    const lane = laneOf(task);
    if (!lane) return;
    const id = laneId(lane);
    if (this.waiting.has(id)) return;
    this.waiting.add(id);
    this.commits.submit(lane);
  }

  start(): void {
    this.sweeps.startIn(jittered(this.sweepEveryMs));
  }

  async stop(): Promise<void> {
    await Promise.all([this.sweeps.stop(), this.commits.idle()]);
  }

  private async sweep(): Promise<number> {
    try {
      await this.store.lanes.sweep();
    } catch (error) {
      this.failed('look for concurrency keys that wait for nobody', error);
    }
    return jittered(this.sweepEveryMs);
  }
}
