import * as fc from 'fast-check';
import type { FinishedState, Lease, Settlement, TaskState, TaskStore } from 'nestjs-backie';
import { v7 as uuid } from 'uuid';
import { expect, it } from 'vitest';
import {
  cancelRequests,
  finish,
  hourMs,
  immortal,
  leaseOf,
  mortal,
  newTask,
  release,
  retry,
  type TaskStoreUnderTest,
} from './task-store.fixtures.js';

/** Random histories of a queue, each step checked against a model that is too simple to be wrong. */
export function describeTaskStoreModel(subject: () => TaskStoreUnderTest): void {
  it('agrees with a simple model whatever happens to a queue', { timeout: 1_200_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const world = await World.create(subject());
        for (const one of steps) await world.take(one);
        await world.close();
      }),
      { numRuns: Number(process.env['BACKIE_MODEL_RUNS'] ?? (subject().racing ? 40 : 300)) },
    );
  });
}

type Step =
  | { readonly do: 'enqueue'; readonly tasks: readonly NewModelTask[] }
  | { readonly do: 'claim'; readonly worker: 0 | 1; readonly names: readonly string[]; readonly limit: number }
  | { readonly do: 'settle'; readonly worker: 0 | 1; readonly how: readonly How[] }
  /** A crash is a rescue of a worker whose lease ends just before; another finds only what has lapsed by itself. */
  | { readonly do: 'crash' | 'rescue'; readonly maxCrashes: number; readonly removeFailed: boolean }
  | { readonly do: 'pass'; readonly hours: number }
  | { readonly do: 'cancel'; readonly pick: number; readonly keep: boolean }
  | { readonly do: 'retry' | 'remove'; readonly pick: number }
  | { readonly do: 'pause' | 'resume' };

interface How {
  readonly pick: number;
  readonly kind: 'finish' | 'retry' | 'release';
  readonly state: FinishedState;
  readonly keep: boolean;
  readonly delayMs: number;
  readonly stale: boolean;
}

interface NewModelTask {
  readonly name: string;
  readonly priority: number;
  /** Milliseconds since 1970; Infinity while it waits for time to pass. */
  readonly scheduledAt: number;
  /** How much time has to pass until it is due. */
  readonly waitHours: number;
  readonly uniqueKey: string | null;
}

interface ModelTask extends NewModelTask {
  readonly id: string;
  readonly state: TaskState;
  readonly scheduledAt: number;
  readonly attempt: number;
  readonly retries: number;
  readonly crashes: number;
  readonly claimSeq: number;
  readonly workerId: string | null;
  readonly outcomes: readonly string[];
  readonly keepCancelled: boolean | null;
}

const anyPick = fc.nat(50);
const past = [0, 1, 2].map((bucket) => 1_700_000_000_000 + bucket * hourMs);
const anyWorker = fc.constantFrom<0 | 1>(0, 1);
const newModelTask: fc.Arbitrary<NewModelTask> = fc
  .record({
    name: fc.constantFrom('x', 'y'),
    priority: fc.integer({ min: -1, max: 1 }),
    scheduledAt: fc.constantFrom(...past, ...past, Infinity),
    uniqueKey: fc.constantFrom(null, null, 'a', 'b'),
    hours: fc.constantFrom(1, 3),
  })
  .map(({ hours, ...task }) => ({ ...task, waitHours: task.scheduledAt === Infinity ? hours : 0 }));
const anyHow: fc.Arbitrary<How> = fc.record({
  pick: anyPick,
  kind: fc.constantFrom<How['kind']>('finish', 'retry', 'release'),
  state: fc.constantFrom<FinishedState>('done', 'failed', 'cancelled'),
  keep: fc.boolean(),
  delayMs: fc.constantFrom(0, 0, hourMs, 3 * hourMs),
  stale: fc.constantFrom(false, false, false, true),
});
const enqueueStep = fc.record({
  do: fc.constant('enqueue' as const),
  tasks: fc.array(newModelTask, { minLength: 1, maxLength: 4 }),
});
const claimStep = fc.record({
  do: fc.constant('claim' as const),
  worker: anyWorker,
  names: fc.constantFrom(['x', 'y'], ['x', 'y'], ['x'], ['y', 'z'], []),
  limit: fc.integer({ min: 1, max: 4 }),
});
const settleStep = fc.record({
  do: fc.constant('settle' as const),
  worker: anyWorker,
  how: fc.array(anyHow, { minLength: 1, maxLength: 3 }),
});
const crashStep = fc.record({
  do: fc.constantFrom('crash' as const, 'crash' as const, 'rescue' as const),
  maxCrashes: fc.integer({ min: 1, max: 3 }),
  removeFailed: fc.boolean(),
});
const cancelStep = fc.record({ do: fc.constant('cancel' as const), pick: anyPick, keep: fc.boolean() });
const pickStep = fc.record({ do: fc.constantFrom('retry' as const, 'remove' as const), pick: anyPick });
// Between the whole hours that tasks wait: whether one is due is never a matter of milliseconds.
const passStep = fc.record({ do: fc.constant('pass' as const), hours: fc.constantFrom(0.65, 1.55) });
const pauseStep = fc.record({ do: fc.constantFrom('pause' as const, 'resume' as const) });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: enqueueStep },
  { weight: 5, arbitrary: claimStep },
  { weight: 4, arbitrary: settleStep },
  { weight: 2, arbitrary: crashStep },
  { weight: 2, arbitrary: cancelStep },
  { weight: 2, arbitrary: pickStep },
  { weight: 1, arbitrary: pauseStep },
  { weight: 1, arbitrary: passStep },
);

/** The store and the model of one queue, side by side. */
class World {
  private readonly queue = `model-${uuid()}`;
  private readonly tasks = new Map<string, ModelTask>();
  /** Every id that there ever was, so that picks meet removed tasks too. */
  private readonly ids: string[] = [];
  private paused = false;
  /** Whether so much time has passed that the mortal worker's lease is over, though nobody has buried it. */
  private lapsed = false;
  private workers!: [dying: Lease, living: Lease];

  static async create(subject: TaskStoreUnderTest): Promise<World> {
    const world = new World(subject);
    world.workers = [await world.lease(mortal), await world.lease(immortal)];
    return world;
  }

  private constructor(private readonly subject: TaskStoreUnderTest) {}

  private get store(): TaskStore {
    return this.subject.store;
  }

  async close(): Promise<void> {
    for (const held of this.workers) await held.end();
  }

  async take(one: Step): Promise<void> {
    switch (one.do) {
      case 'enqueue':
        await this.enqueue(one.tasks);
        break;
      case 'claim':
        await this.claim(one);
        break;
      case 'settle':
        await this.settle(this.workers[one.worker], one.how);
        break;
      case 'crash':
        await this.subject.expireLease(this.workers[0].workerId);
        this.lapsed = true;
        await this.rescue(one.maxCrashes, one.removeFailed);
        break;
      case 'rescue':
        await this.rescue(one.maxCrashes, one.removeFailed);
        break;
      case 'pass':
        await this.pass(one.hours);
        break;
      case 'cancel':
        await this.cancel(this.picked(one.pick), one.keep);
        break;
      case 'retry':
        await this.retry(this.picked(one.pick));
        break;
      case 'remove':
        await this.remove(this.picked(one.pick));
        break;
      case 'pause':
      case 'resume':
        this.paused = one.do === 'pause';
        await this.store[one.do](this.queue);
        break;
    }
    await this.compare();
  }

  private async enqueue(tasks: readonly NewModelTask[]): Promise<void> {
    const made = tasks.map(({ scheduledAt, waitHours, ...fields }) => {
      const due = scheduledAt === Infinity ? { inMs: waitHours * hourMs } : { at: new Date(scheduledAt) };
      return { scheduledAt, waitHours, task: newTask({ queue: this.queue, ...fields, due }) };
    });
    const expected = made.map(({ scheduledAt, waitHours, task: { id, name, priority, uniqueKey } }) => {
      const holder = this.liveHolder(name, uniqueKey);
      if (holder) return { id: holder.id, duplicate: true };
      const counters = { attempt: 0, retries: 0, crashes: 0, claimSeq: 0 };
      const rest = { state: 'ready', workerId: null, outcomes: [], keepCancelled: null } as const;
      this.tasks.set(id, { id, name, priority, uniqueKey, scheduledAt, waitHours, ...counters, ...rest });
      this.ids.push(id);
      return { id, duplicate: false };
    });
    expect(await this.store.enqueue(made.map(({ task }) => task))).toEqual(expected);
  }

  private async claim({ worker, names, limit }: Extract<Step, { do: 'claim' }>): Promise<void> {
    const { workerId } = this.workers[worker];
    const claimed = await this.store.claim({ workerId, queue: this.queue, names, limit });
    const due = [...this.tasks.values()]
      .filter((task) => task.state === 'ready' && names.includes(task.name) && task.scheduledAt !== Infinity)
      .toSorted((one, other) => other.priority - one.priority || one.scheduledAt - other.scheduledAt);
    const dead = worker === 0 && this.lapsed;
    const expected = this.paused || dead ? [] : due.slice(0, limit);
    // Tasks that were put back within one millisecond look alike from outside, so that places are compared, not ids.
    expect(claimed.map(({ id }) => place(this.known(id)))).toEqual(expected.map(place));
    expect(new Set(claimed.map(({ id }) => id)).size).toBe(claimed.length);
    for (const { id, attempt, claimSeq } of claimed) {
      const task = this.known(id);
      expect(due).toContain(task);
      expect({ attempt, claimSeq }).toEqual({ attempt: task.attempt + 1, claimSeq: task.claimSeq + 1 });
      this.change(id, { state: 'running', workerId, attempt, claimSeq });
    }
  }

  private async settle({ workerId }: Lease, how: readonly How[]): Promise<void> {
    const running = [...this.tasks.values()].filter(({ state }) => state === 'running');
    const settlements = new Map<string, Settlement>();
    const expected = new Map<string, TaskState>();
    for (const one of running.length ? how : []) {
      const task = running[one.pick % running.length];
      if (settlements.has(task.id)) continue;
      settlements.set(task.id, this.settlement(task, one));
      if (one.stale || task.workerId !== workerId) continue;
      const back = task.keepCancelled === null ? 'ready' : 'cancelled';
      expected.set(task.id, one.kind === 'finish' ? one.state : back);
      this.applySettlement(task, one);
    }
    const settled = await this.store.settle(workerId, [...settlements.values()]);
    expect(settled).toEqual(expected);
    for (const id of expected.keys()) await this.learnDueTime(id);
  }

  private settlement(task: ModelTask, { kind, state, keep, delayMs, stale }: How): Settlement {
    const { id, attempt } = task;
    const claim = { id, queue: this.queue, attempt, claimSeq: task.claimSeq - (stale ? 1 : 0) };
    if (kind === 'release') return release(claim);
    if (kind === 'retry') return retry(claim, delayMs);
    const report = state === 'failed' ? ({ number: attempt, outcome: 'failed' } as const) : null;
    return finish(claim, { state, keepMs: keep ? Infinity : null, attempt: report });
  }

  private applySettlement(task: ModelTask, { kind, state, keep, delayMs }: How): void {
    const { id, retries, attempt, outcomes, keepCancelled } = task;
    if (kind === 'retry' || (kind === 'finish' && state === 'failed')) {
      this.change(id, { outcomes: [...outcomes, 'failed'] });
    }
    if (kind === 'finish' && state === 'done') this.change(id, { outcomes: [...outcomes, 'done'] });
    if (kind === 'finish') return this.end(id, state, keep);
    if (keepCancelled !== null) return this.end(id, 'cancelled', keepCancelled);
    this.change(id, { state: 'ready', workerId: null });
    if (kind === 'release') this.change(id, { attempt: attempt - 1 });
    else {
      const waitHours = delayMs / hourMs;
      this.change(id, { retries: retries + 1, waitHours, scheduledAt: delayMs > 0 ? Infinity : NaN });
    }
  }

  /** Time passes; what waited for it is due, and the mortal worker was not heard of for too long. */
  private async pass(hours: number): Promise<void> {
    await this.subject.passTime(this.queue, hours * hourMs);
    this.lapsed = true;
    for (const task of this.tasks.values()) {
      const waitHours = task.waitHours - hours;
      if (task.scheduledAt !== Infinity) continue;
      this.change(task.id, { waitHours, ...(waitHours <= 0 && { scheduledAt: NaN }) });
      await this.learnDueTime(task.id);
    }
  }

  private async rescue(maxCrashes: number, removeFailed: boolean): Promise<void> {
    const keepFailedMs = new Map([[this.queue, removeFailed ? null : Infinity]]);
    const rescued = await this.store.rescue({ leaseMs: 0, maxCrashes, keepFailedMs });
    if (!this.lapsed) return expect(rescued.filter(({ queue }) => queue === this.queue)).toEqual([]);
    const [dying] = this.workers;
    const { workerId } = dying;
    await dying.end();
    this.workers[0] = await this.lease(mortal);
    this.lapsed = false;
    const quarantined = new Map<string, boolean>();
    for (const task of [...this.tasks.values()].filter((one) => one.workerId === workerId)) {
      const crashes = task.crashes + 1;
      this.change(task.id, { crashes, outcomes: [...task.outcomes, 'crashed'] });
      if (task.keepCancelled !== null) {
        this.end(task.id, 'cancelled', task.keepCancelled);
        continue;
      }
      quarantined.set(task.id, crashes >= maxCrashes);
      if (crashes >= maxCrashes) this.end(task.id, 'failed', !removeFailed);
      else this.change(task.id, { state: 'ready', workerId: null });
    }
    const here = rescued.filter(({ queue }) => queue === this.queue);
    expect(new Map(here.map((task) => [task.id, task.quarantined]))).toEqual(quarantined);
  }

  private async cancel(id: string, keep: boolean): Promise<void> {
    const state = this.tasks.get(id)?.state;
    const outcome = await this.store.cancel(id, () => (keep ? Infinity : null));
    if (state === 'ready') {
      expect(outcome).toBe('cancelled');
      this.end(id, 'cancelled', keep);
    } else if (state === 'running') {
      expect(outcome).toBe('requested');
      this.change(id, { keepCancelled: keep });
    } else {
      expect(outcome).toBe('notLive');
    }
  }

  private async retry(id: string): Promise<void> {
    const task = this.tasks.get(id);
    const answer = await this.store.retry(id).catch((error: Error) => error.name);
    if (task?.state !== 'failed' && task?.state !== 'cancelled') return expect(answer).toBe(false);
    if (this.liveHolder(task.name, task.uniqueKey)) return expect(answer).toBe('UniqueKeyTakenError');
    expect(answer).toBe(true);
    this.change(id, { state: 'ready', retries: 0, crashes: 0, scheduledAt: NaN });
    await this.learnDueTime(id);
  }

  private async remove(id: string): Promise<void> {
    const task = this.tasks.get(id);
    const removable = task !== undefined && task.state !== 'running';
    expect(await this.store.remove(id)).toBe(removable);
    if (removable) this.tasks.delete(id);
  }

  /** What the store shows of the queue is what the model says. */
  private async compare(): Promise<void> {
    const { tasks } = await this.store.list({ queue: this.queue }, { limit: 1_000, order: 'oldestFirst' });
    const shown = tasks.map((task) => ({
      ...comparable({ ...task, outcomes: task.attempts.map(({ outcome }) => outcome) }),
      finished: task.finishedAt !== null,
    }));
    const expected = [...this.tasks.values()]
      .toSorted((one, other) => (one.id < other.id ? -1 : 1))
      .map((task) => ({ ...comparable(task), finished: task.state !== 'ready' && task.state !== 'running' }));
    expect(shown).toEqual(expected);
    const counts = { ready: 0, running: 0, done: 0, failed: 0, cancelled: 0 };
    for (const { state } of expected) counts[state] += 1;
    expect(await this.store.counts(this.queue)).toEqual(counts);
    for (const { workerId } of this.workers) {
      const wished = [...this.tasks.values()].filter(
        (task) => task.workerId === workerId && task.keepCancelled !== null,
      );
      expect(new Set(await cancelRequests(this.store, workerId))).toEqual(new Set(wished.map(({ id }) => id)));
    }
  }

  /** A task that was put back is due since the store's own now: only the store can say when that was. */
  private async learnDueTime(id: string): Promise<void> {
    if (!Number.isNaN(this.tasks.get(id)?.scheduledAt)) return;
    const task = await this.store.find(id);
    this.change(id, { scheduledAt: task!.scheduledAt.getTime() });
  }

  private liveHolder(name: string, uniqueKey: string | null): ModelTask | undefined {
    return [...this.tasks.values()].find(
      (task) =>
        uniqueKey !== null &&
        task.name === name &&
        task.uniqueKey === uniqueKey &&
        (task.state === 'ready' || task.state === 'running'),
    );
  }

  private end(id: string, state: FinishedState, keep: boolean): void {
    if (keep) this.change(id, { state, workerId: null, keepCancelled: null });
    else this.tasks.delete(id);
  }

  private change(id: string, changes: Partial<ModelTask>): void {
    this.tasks.set(id, { ...this.known(id), ...changes });
  }

  private known(id: string): ModelTask {
    const task = this.tasks.get(id);
    if (!task) throw new Error(`The store speaks of task ${id}, which is not there.`);
    return task;
  }

  private picked(pick: number): string {
    return this.ids.length ? this.ids[pick % this.ids.length] : uuid();
  }

  private lease(terms: typeof mortal): Promise<Lease> {
    return leaseOf(this.store, [this.queue], terms);
  }
}

/** What the order of claims goes by, but for the id. */
function place({ priority, scheduledAt }: ModelTask): unknown {
  return { priority, scheduledAt };
}

/** What a task of the model and one of the store have in common. */
function comparable(task: Omit<ModelTask, 'scheduledAt' | 'waitHours' | 'keepCancelled'>) {
  const { id, name, priority, uniqueKey, state, attempt, retries, crashes, claimSeq, workerId, outcomes } = task;
  return { id, name, priority, uniqueKey, state, attempt, retries, crashes, claimSeq, workerId, outcomes };
}
