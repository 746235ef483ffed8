import { type Lane, laneId, laneOf } from '../engine/lane.js';
import type { FinishedState } from '../engine/task.js';
import type { ClaimRequest } from '../engine/task-store.js';
import { LaneLine } from './lane-line.js';
import { ReadyTasks } from './ready-tasks.js';
import { isExpired, replaceBy, type StoredTask } from './stored-task.js';

/**
 * All tasks and the indexes over them. Every change of state goes through here, so that no index can forget one: a
 * ready task is in line, a running one is held by its worker, who is to hold a unique key holds it, and a live task with a
 * concurrency key stands in its lane.
 */
export class TaskTable {
  private readonly rows = new Map<string, StoredTask>();
  private readonly ready = new ReadyTasks();
  private readonly held = new Map<string, Set<StoredTask>>();
  private readonly keys = new Map<string, string>();
  private readonly laneLines = new Map<string, LaneLine>();

  get(id: string): StoredTask | undefined {
    return this.rows.get(id);
  }

  /** A finished task whose time is over is as good as gone. */
  present(id: string, now: number): StoredTask | undefined {
    const task = this.rows.get(id);
    return task && task.keptUntil > now ? task : undefined;
  }

  all(): Iterable<StoredTask> {
    return this.rows.values();
  }

  /** The id of the live task that holds the unique key of `task`, be it the task itself. */
  keyHolder(task: StoredTask): string | undefined {
    return holdsKey(task) ? this.keys.get(keyOf(task)) : undefined;
  }

  /** Takes its key from a task that has expired, but that nobody has ended yet. */
  freeKey(task: StoredTask): void {
    if (this.keys.get(keyOf(task)) === task.id) this.keys.delete(keyOf(task));
  }

  /** Gives a task that waits what a new one says. */
  replace(task: StoredTask, by: StoredTask, scheduledAt: number): void {
    this.leave(task);
    replaceBy(task, by);
    task.scheduledAt = scheduledAt;
    this.enter(task);
  }

  /** The running tasks of one worker. */
  heldBy(workerId: string): readonly StoredTask[] {
    return [...(this.held.get(workerId) ?? [])];
  }

  /** How many tasks of a queue run. */
  running(queue: string): number {
    let running = 0;
    for (const tasks of this.held.values()) for (const task of tasks) if (task.queue === queue) running++;
    return running;
  }

  /** The workers that hold running tasks. */
  holders(): readonly string[] {
    return [...this.held.keys()];
  }

  insert(task: StoredTask): void {
    this.rows.set(task.id, task);
    this.enter(task);
  }

  /** The lanes of all live tasks. */
  lanes(): readonly Lane[] {
    return [...this.laneLines.values()].map(({ lane }) => lane);
  }

  /** Gives the next tasks of a lane their place, or takes them all if it is paused. Answers whether one got its place. */
  admit(lane: Lane, paused: boolean, now: number): boolean {
    const line = this.laneLines.get(laneId(lane));
    if (!line) return false;
    if (paused) {
      for (const task of line.notRunning()) this.park(task, true);
      return false;
    }
    let admitted = false;
    for (let move = line.nextMove(now); move; move = line.nextMove(now)) {
      if (move.park) this.park(move.park, true);
      this.park(move.admit, false);
      admitted = true;
    }
    return admitted;
  }

  /** @param admits Asked of each task in turn that would be taken; what it does not admit is passed over. */
  claim(
    { workerId, queue, names, limit, startNow = limit, suspects }: ClaimRequest,
    now: number,
    admits: (task: StoredTask) => boolean = () => true,
  ): StoredTask[] {
    const take = (most: number, which: (task: StoredTask) => boolean) =>
      this.ready.take(queue, names, most, now, which);
    const isSuspect = ({ crashes }: StoredTask) => suspects !== undefined && crashes >= suspects.crashes;
    const suspect = suspects?.takeOne ? take(1, (task) => isSuspect(task) && admits(task)) : [];
    const tasks = [
      ...suspect,
      ...take(limit - suspect.length, (task) => !isSuspect(task) && !isExpired(task, now) && admits(task)),
    ];
    tasks.forEach((task, place) => this.hold(task, workerId, place >= startNow, now));
    return tasks;
  }

  /** Gives a task that has just been stored to a worker. */
  hand(task: StoredTask, workerId: string, now: number): void {
    this.leave(task);
    this.hold(task, workerId, false, now);
  }

  /** Puts a running or finished task back into line, or parks it if its lane is paused. */
  makeReady(task: StoredTask, scheduledAt: number, paused = false): void {
    this.leave(task);
    task.state = 'ready';
    task.scheduledAt = scheduledAt;
    task.workerId = null;
    // What had ended has lost its place; what goes back keeps it.
    task.parked = task.lane !== null && (paused || task.finishedAt !== null);
    task.finishedAt = null;
    task.keptUntil = Infinity;
    task.queue = queueOf(task);
    task.deadFrom = null;
    this.enter(task);
  }

  /** @param deadLetter The queue under which it stays, if that is not its own. */
  finish(task: StoredTask, state: FinishedState, keepMs: number | null, now: number, deadLetter?: string): void {
    this.leave(task);
    if (deadLetter !== undefined && deadLetter !== task.queue) {
      task.deadFrom = task.queue;
      task.queue = deadLetter;
    }
    task.state = state;
    task.workerId = null;
    task.finishedAt = now;
    task.cancelRequest = null;
    if (keepMs === null) {
      this.rows.delete(task.id);
      return;
    }
    task.keptUntil = now + keepMs;
  }

  delete(task: StoredTask): void {
    this.leave(task);
    this.rows.delete(task.id);
  }

  /** Forgets the finished tasks whose time is over. @returns How many. */
  prune(now: number): number {
    const before = this.rows.size;
    for (const { id, keptUntil } of this.rows.values()) if (keptUntil <= now) this.rows.delete(id);
    return before - this.rows.size;
  }

  private park(task: StoredTask, parked: boolean): void {
    this.leave(task);
    task.parked = parked;
    this.enter(task);
  }

  private hold(task: StoredTask, workerId: string, ahead: boolean, now: number): void {
    task.state = 'running';
    task.attempt += 1;
    task.claimSeq += 1;
    task.workerId = task.lastWorkerId = workerId;
    // Marked at its last claim and rescued since: it may have started then, so this claim counts.
    task.claimedAhead = ahead && !task.claimedAhead;
    task.startedAt = now;
    if (!holdsKey(task)) this.freeKey(task);
    this.enter(task);
  }

  private enter(task: StoredTask): void {
    if (holdsKey(task)) this.keys.set(keyOf(task), task.id);
    const lane = laneOf(task);
    if (lane) {
      const line = this.laneLines.get(laneId(lane)) ?? new LaneLine(lane);
      this.laneLines.set(laneId(lane), line);
      line.add(task);
    }
    if (task.state === 'ready') {
      if (!task.parked) this.ready.add(task);
    } else if (task.workerId !== null) {
      const held = this.held.get(task.workerId) ?? new Set();
      this.held.set(task.workerId, held.add(task));
    }
  }

  private leave(task: StoredTask): void {
    this.freeKey(task);
    const lane = laneOf(task);
    const line = lane && this.laneLines.get(laneId(lane));
    if (line) {
      line.remove(task);
      if (line.isEmpty) this.laneLines.delete(laneId(lane));
    }
    if (task.state === 'ready') {
      if (!task.parked) this.ready.remove(task);
    } else if (task.workerId !== null) {
      const held = this.held.get(task.workerId);
      held?.delete(task);
      if (held?.size === 0) this.held.delete(task.workerId);
    }
  }
}

/** Who holds it only while it waits gives it up at its first claim, and never takes it back. */
function holdsKey({ uniqueKey, uniqueScope, claimSeq }: StoredTask): boolean {
  return uniqueKey !== null && (uniqueScope === 'live' || (uniqueScope === 'waiting' && claimSeq === 0));
}

export function keyOf(task: StoredTask): string {
  return JSON.stringify([queueOf(task), task.name, task.uniqueKey]);
}

/** The queue that it is worked on: that of a dead letter is the one it came from. */
function queueOf({ deadFrom, queue }: StoredTask): string {
  return deadFrom ?? queue;
}
